"""Texts of strangers on terminals, in logs, pages and tables; secrets nowhere."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from formsafe.config.loading import load_study
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json
from formsafe.core.manifest import describe_run
from formsafe.core.redaction import HIDDEN, has_secret, redact, redacted, secret_names, sends_key_openly
from formsafe.core.texts import escape_csv, escape_markdown, is_one_line, one_line, printable
from tests.conftest import ROOT

ESCAPES = [
    "\x1b]52;c;cm0gLXJm\x07",  # writes the clipboard
    "\x1b[2J\x1b[H",  # clears the screen
    "\x9b31m",  # the same as ESC [, in one character
    "all is well\rerror",
    "\x08\x08\x08",
    "a\x7f",
    "\u202egnp.exe",  # shown from right to left
    "\u2066x\u2069",
    "\u2028",
    "\x00",
    "\ud800",
]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize("text", ESCAPES, ids=range(len(ESCAPES)))
def test_control_characters_reach_neither_terminal_nor_label(text):
    assert not CONTROL.search(printable(text)) and not CONTROL.search(str(FormsafeError(text)))
    assert not CONTROL.search(one_line(text)) and "\n" not in one_line(f"a\n{text}\n.. raw:: html")
    assert printable(text).encode() and not is_one_line(text)


def test_ordinary_texts_stay_as_they_are():
    for text in ("Llama-3.1 (8B)", "ナマズ, 한국어, हिन्दी", "مرحبا", "a\tb\nc", "👩‍🔬", "$5 & 50 %"):
        assert printable(text) == text and one_line(text) == " ".join(text.split())
    assert (
        redact("max_tokens: 512, eos_token=2, key value, a@b.org") == "max_tokens: 512, eos_token=2, key value, a@b.org"
    )


LOGGED = """
import logging, sys, warnings
from formsafe.core.errors import FormsafeError
from formsafe.core.logs import logging_to
evil = "\\x1b]52;c;cm0gLXJm\\x07 user:hunter22222@ sk-abcdefghijklmnopqrst"
with logging_to(sys.argv[1]):
    print(evil)
    print(evil, file=sys.stderr)
    sys.stdout.writelines([evil])
    warnings.warn(evil)
    logging.error(evil)
    raise {error}(evil)
"""


@pytest.mark.parametrize("error", ["FormsafeError", "ValueError", "SystemExit"])
def test_logs_and_terminals_of_jobs_are_filtered(tmp_path, error):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts"), "SOME_API_KEY": "hunter22222"}
    command = [sys.executable, "-c", LOGGED.replace("{error}", error), str(tmp_path / "log")]
    answer = subprocess.run(command, env=environment, capture_output=True)
    log = (tmp_path / "log").read_bytes()
    assert answer.returncode == 1 and log.count(HIDDEN.encode()) >= 10
    if error != "SystemExit":  # whose text Python itself prints; ours are numbers
        said = log + answer.stderr + answer.stdout
        assert b"\x1b" not in said and b"sk-abc" not in said and b"hunter" not in said


def test_logs_go_through_no_link(tmp_path):
    (tmp_path / "own").write_text("mine")
    (tmp_path / "log").symlink_to(tmp_path / "own")
    command = [sys.executable, "-c", LOGGED.replace("{error}", "ValueError"), str(tmp_path / "log")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    assert b"symbolic link" in subprocess.run(command, env=environment, capture_output=True).stderr
    assert (tmp_path / "own").read_text() == "mine"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "  =1", "\t=1"])
def test_no_spreadsheet_takes_a_text_for_a_formula(text):
    assert escape_csv(text) == f"'{text}" and escape_csv("Llama") == "Llama"


def test_markdown_takes_no_text_for_markup():
    assert escape_markdown("a|b\n# c <img> [x](y) `d` *e* _f_") == (r"a\|b \# c \<img\> \[x\](y) \`d\` \*e\* \_f\_")


@pytest.fixture
def settings():
    """The paper's configuration, to be spoilt."""
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "label", ["a\n\n.. raw:: html\n\n   <script>alert(1)</script>", "a\x1b[31m", "a\u202eb", "a\rb", "a\tb", "a\x00"]
)
@pytest.mark.parametrize("place", ["model", "method", "title", "licence"])
def test_labels_and_titles_are_one_line(settings, label, place):
    if place == "model":
        next(iter(settings["models"].values()))["label"] = label
    elif place == "method":
        next(iter(settings["methods"].values()))["label"] = label
    elif place == "licence":
        settings["corpus"]["licence"] = label
    else:
        settings["title"] = label
    with pytest.raises(FormsafeError, match=r"must be one line without control characters"):
        load_study(settings)


SECRET = "hunter22222"
TEXTS = [
    f"https://me:{SECRET}@example.org/v1",
    f"http://{SECRET}@example.org",
    f"https://example.org/a.csv?token={SECRET}&x=1",
    f"https://example.org/a.csv?x=1&api-key={SECRET}",
    f"https://example.org/a?X-Amz-Signature={SECRET}",
    f"Authorization: Bearer {SECRET}",
    f'{{"api_key": "{SECRET}"}}',
    f"password={SECRET}",
    f"sk-{SECRET * 3}",
    f"hf_{SECRET * 3}",
    f"ghp_{SECRET * 3}",
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_secrets_are_redacted_everywhere_by_one_function(text):
    assert SECRET not in redact(text) and HIDDEN in redact(text)
    assert SECRET not in str(FormsafeError(f"cannot reach {text}.")) and SECRET not in str(
        redacted({"a": [{"b": text}]})
    )


def test_values_of_secret_variables_are_redacted(monkeypatch):
    monkeypatch.setenv("MY_SERVER_KEY", "plain-words-here")
    assert redact("the server said plain-words-here") == f"the server said {HIDDEN}"


def test_a_manifest_holds_no_secret(tmp_path):
    settings = {"generation": {"extra_body": {"api_key": SECRET, "max_tokens": 5, "user": f"Bearer {SECRET}"}}}
    describe_run({"model": "m"}, settings, {}, {}, tmp_path / "m.json")
    text = (tmp_path / "m.json").read_text()
    assert (
        SECRET not in text and read_json(tmp_path / "m.json")["settings"]["generation"]["extra_body"]["max_tokens"] == 5
    )


def server(settings, **changes):
    judge = next(iter(settings["judges"].values()))
    judge["generation"]["server"] = {"base_url": "https://example.org/v1", "model": "m", **changes}
    return settings


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": f"https://me:{SECRET}@example.org/v1"},
        {"base_url": f"https://{SECRET}@example.org/v1"},
        {"base_url": f"https://example.org/v1?token={SECRET}"},
        {"extra_body": {"api_key": SECRET}},
        {"extra_body": {"nested": [{"Authorization": f"Bearer {SECRET}"}]}},
        {"extra_body": {"user": f"sk-{SECRET * 3}"}},
        {"key_variable": f"sk-{SECRET * 3}"},
        {"key_variable": f"hf_{SECRET * 3}"},
    ],
)
def test_a_configuration_with_a_secret_is_refused_without_showing_it(settings, changes):
    with pytest.raises(FormsafeError, match="key") as failure:
        load_study(server(settings, **changes))
    assert SECRET not in str(failure.value)


def test_a_configuration_without_a_secret_is_taken(settings):
    load_study(server(settings, key_variable="OPENAI_API_KEY", extra_body={"max_tokens": 1, "logit_bias": {"5": 1}}))


def test_an_address_of_data_names_a_variable_in_place_of_its_key(settings):
    source = settings["harmful"]["advbench"]["source"]
    source["url"] = f"https://example.org/a.csv?token={SECRET}"
    with pytest.raises(FormsafeError, match=r"write \$NAME") as failure:
        load_study(settings)
    assert SECRET not in str(failure.value)
    source["url"] = "https://example.org/a.csv?token=$MY_TOKEN"
    load_study(settings)


def test_only_logins_and_key_fields_are_secrets():
    assert not has_secret("https://example.org/a.csv?download=1&version=2") and has_secret("https://a:b@c.org")
    assert secret_names({"a": {"password": "x"}, "max_tokens": 3}) == ["password"]


@pytest.mark.parametrize("url, openly", [("http://10.0.0.5:8000/v1", True), ("http://127.0.0.1/v1", False),
                                         ("http://localhost:1/v1", False), ("https://example.org", False)])  # fmt: skip
def test_a_key_over_plain_http_to_another_machine_warns(monkeypatch, capsys, url, openly):
    from formsafe.config.settings.generation import ServerSettings
    from formsafe.generation.server import ServerEngine
    from formsafe.preflight.source_checks import check_server

    monkeypatch.setenv("MY_KEY", SECRET)
    settings = ServerSettings(base_url=url, model="m", key_variable="MY_KEY")
    ServerEngine(settings)
    printed = capsys.readouterr().out
    assert ("unencrypted" in printed) == openly == sends_key_openly(url) and SECRET not in printed
    monkeypatch.setattr("formsafe.preflight.source_checks._models", lambda address, key: (200, {"m"}))
    check = check_server("judge", settings, {"MY_KEY": SECRET})
    assert ("unencrypted" in f"{check}") == openly
