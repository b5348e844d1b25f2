"""Preflight of a server: its address, its key and the model's name."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from formsafe.config.settings.generation import ServerSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.preflight.source_checks import check_served_chat, check_server

LIST = json.dumps({"object": "list", "data": [{"id": "m"}, {"id": "other"}]})


@pytest.fixture
def server():
    """Serves `pages` (path to status and body), to the key `k` only."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = self.server.pages.get(self.path, (404, "no such page"))
            if self.headers.get("authorization") not in (None, "Bearer k"):
                status = 401
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.pages = {"/v1/models": (200, LIST)}
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def checked(server, path="/v1", environment=(), **changes):
    address = f"http://127.0.0.1:{server.server_address[1]}{path}"
    return check_server("s", ServerSettings(**{"base_url": address, "model": "m"} | changes), dict(environment))


def test_a_server_that_serves_the_model_is_in_order(server):
    assert checked(server).state == "ok" and checked(server, "/v1/").state == "ok"
    assert checked(server, environment={"KEY": "k"}, key_variable="KEY").state == "ok"


def test_a_missing_v1_is_named(server):
    check = checked(server, "")
    assert check.state == "no" and "Add /v1" in check.remedy


def test_a_model_that_is_not_served_is_named_beside_those_that_are(server):
    check = checked(server, model="n")
    assert check.state == "no" and "does not serve n" in check.detail and "m, other" in check.remedy


def test_a_wrong_or_missing_key_is_named_and_not_shown(server):
    check = checked(server, environment={"KEY": "very-secret"}, key_variable="KEY")
    assert check.state == "no" and "refuses the key" in check.detail and "very-secret" not in repr(check)
    assert "KEY is empty" in checked(server, key_variable="KEY").detail


@pytest.mark.parametrize(
    ("page", "state"),
    [((404, ""), "unchecked"), ((200, "hello"), "unchecked"), ((500, ""), "no"), ((200, "{}"), "unchecked")],
)
def test_a_server_without_a_list_of_models_is_not_checked(server, page, state):
    server.pages["/v1/models"] = page
    assert checked(server).state == state


def test_no_server_is_one(server):
    server.shutdown()
    server.server_close()
    assert "does not answer" in checked(server).detail


VLLM = "serve {model} --port {port} --enable-lora --lora-modules run={adapter}"


@pytest.mark.parametrize(("program", "state"), [("sh", "ok"), ("/nowhere/vllm", "no"), ("no-such-program", "no")])
def test_the_program_of_a_command_is_looked_for(program, state):
    check = check_server("s", ServerSettings(command=f"{program} {VLLM}"), {})
    assert check.state == state and program in check.detail
    assert ("warning: without --host" in check.detail) if state == "ok" else ("envs/vllm.yaml" in check.remedy)
    assert "warning" not in check_server("s", ServerSettings(command=f"{program} {VLLM} --host 127.0.0.1"), {}).detail
    assert check_server("s", ServerSettings(command=f"sh {VLLM}", key_variable="KEY"), {}).state == "no"


TEMPLATES = {
    "plain": ("", {}, "ok"),
    "thinking": ("{% if enable_thinking is not defined or enable_thinking %}think{% endif %}", {}, "no"),
    "told": (
        "{% if enable_thinking is not defined or enable_thinking %}think{% endif %}",
        {"enable_thinking": False},
        "ok",
    ),
    "told nothing": ("", None, "ok"),
    "clock": ("{{ strftime_now('%d %B %Y') }}", {}, "no"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_server_that_would_render_other_prompts_than_the_training_is_a_no(tiny_model, tmp_path, name):
    addition, arguments, state = TEMPLATES[name]
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    template = next(folder.glob("chat_template.jinja"))
    template.write_text(template.read_text() + addition)
    model = ModelSettings(path=str(folder), label="t", parameters=1e5)
    server = ServerSettings(command=f"sh {VLLM}", extra_body={"chat_template_kwargs": arguments})
    assert check_served_chat("m", model, folder, server).state == state
    own = ServerSettings(command=f"sh {VLLM} --chat-template x.jinja")
    assert check_served_chat("m", model, folder, own) is None
