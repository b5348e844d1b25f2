"""Code of strangers is never run, whatever standard input answers."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.models.load import Placement, load_model, load_tokenizer
from tests.conftest import ROOT

LIBRARY = ROOT / "workflow" / "scripts" / "formsafe"
# PEFT reads weights and numbers only; `load_dataset_builder` and the encoder that we build from scratch load no code.
CALLS = re.compile(r"\b(?:Auto\w+\.from_(?:pretrained|config)|SentenceTransformer|load_dataset)\((?!\s*modules=)")


def call_at(text, start):
    """The text of a call from its name to the bracket that closes it."""
    depth = 0
    for place in range(text.index("(", start), len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return text[start : place + 1]
    raise AssertionError("a call without an end")


def test_every_call_that_could_run_a_models_code_says_that_it_must_not():
    calls = []
    for path in LIBRARY.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        calls += [(path.name, call_at(text, found.start())) for found in CALLS.finditer(text)]
    assert len(calls) >= 6
    assert [(name, call) for name, call in calls if "trust_remote_code=False" not in call] == []


def test_nothing_trusts_pickles_or_evaluates_text():
    forbidden = re.compile(
        r"\bpickle\b|torch\.load\(|trust_remote_code=True|(?<![\w.])eval\(|(?<![\w.])exec\(|yaml\.load\("
    )
    found = [path.name for path in LIBRARY.rglob("*.py") if forbidden.search(path.read_text(encoding="utf-8"))]
    code = "# Weights as safetensors only: pickles can run code"
    assert [name for name in found if name != "hub.py"] == [] and code in (LIBRARY / "sources/hub.py").read_text()


MARK = "raise SystemExit('code of the model ran')\n"


@pytest.fixture
def hostile_model(tiny_model, tmp_path):
    """A model whose configuration, tokenizer and generation point at code of its own."""
    folder = shutil.copytree(tiny_model, tmp_path / "hostile")
    (folder / "code.py").write_text(MARK)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(MARK)
    return folder


def point_at_code(folder, file, **classes):
    content = json.loads((folder / file).read_text())
    content["auto_map"] = {name: f"code.{value}" for name, value in classes.items()}
    (folder / file).write_text(json.dumps(content))


def test_a_models_code_does_not_run_though_standard_input_says_yes(hostile_model):
    """The architecture is known, so the library's own class is taken, and nobody is asked."""
    point_at_code(hostile_model, "config.json", AutoConfig="C", AutoModelForCausalLM="M")
    point_at_code(hostile_model, "tokenizer_config.json", AutoTokenizer=["T", "T"])
    script = (
        "import sys\nfrom formsafe.core.logs import logging_to\n"
        "with logging_to(sys.argv[2]):\n"
        "    from formsafe.models.load import Placement, load_model, load_tokenizer\n"
        "    load_tokenizer(sys.argv[1])\n"
        "    load_model(sys.argv[1], Placement('cpu', 'float32', 'none', 'sdpa'))\n"
        "    print('stdin:', repr(sys.stdin.read()))\n"
    )
    log = hostile_model.parent / "log"
    answer = subprocess.run(
        [sys.executable, "-c", script, str(hostile_model), str(log)],
        input="y\n" * 1000,
        text=True,
        capture_output=True,
        env={"PYTHONPATH": str(LIBRARY.parent), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
    )
    said = log.read_text() + answer.stderr
    assert answer.returncode == 0 and "code of the model ran" not in said and "[y/N]" not in said, said
    assert "stdin: ''" in said


def test_a_model_that_needs_its_own_code_is_not_loaded(hostile_model, monkeypatch):
    point_at_code(hostile_model, "config.json", AutoConfig="C", AutoModelForCausalLM="M")
    config = json.loads((hostile_model / "config.json").read_text())
    (hostile_model / "config.json").write_text(json.dumps({**config, "model_type": "never_heard_of"}))
    monkeypatch.setattr("builtins.input", lambda *question: pytest.fail("somebody is asked"))
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_model(hostile_model, Placement("cpu", "float32", "none", "sdpa"))


def test_an_encoders_code_does_not_run(tmp_path):
    from sentence_transformers import SentenceTransformer

    (tmp_path / "evil.py").write_text(MARK)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "evil.C"}, "model_type": "x"}))
    with pytest.raises(Exception, match="trust_remote_code"):
        SentenceTransformer(str(tmp_path), device="cpu", trust_remote_code=False)


TEMPLATES = {
    "time": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ messages[0].content }}",
    "memory": "{{ 'x' * 10**11 }}",
    "growth": "{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "range": "{% for i in range(10**9) %}x{% endfor %}",
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_chat_template_has_little_time_and_memory(tiny_model, tmp_path, monkeypatch, kind):
    from formsafe.core import limits
    from formsafe.models import chat

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATES[kind])
    monkeypatch.setattr(chat, "bounded", lambda what: limits.bounded(what, seconds=0.5, megabytes=256))
    with pytest.raises(FormsafeError, match=r"chat template of .*model"):
        chat.render_prompt(load_tokenizer(folder), "Is it dry?")


@pytest.mark.parametrize("escape", ["''.__class__.__mro__", "cycler.__init__.__globals__.os.system('id')"])
def test_a_chat_template_has_no_way_to_python(tiny_model, tmp_path, escape):
    from formsafe.models import chat

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ " + escape + " }}")
    with pytest.raises(FormsafeError, match="chat template"):
        chat.render_prompt(load_tokenizer(folder), "Is it dry?")


def test_an_expression_that_never_ends_is_interrupted():
    from formsafe.core.limits import bounded

    with pytest.raises(FormsafeError, match="more than"), bounded("An expression", seconds=0.3):
        re.search(r"(a+)+$", "a" * 40 + "b")


def test_loading_still_works_with_the_limits(tiny_model):
    from formsafe.models.chat import render_prompt

    assert render_prompt(load_tokenizer(tiny_model), "Is it dry?")
    assert load_model(tiny_model, Placement("cpu", "float32", "none", "sdpa")).config.num_hidden_layers == 2
