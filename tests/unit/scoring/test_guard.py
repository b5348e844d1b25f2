"""A judge that takes the conversation through its own chat template, in process and by a server."""

import json

import pytest

from formsafe.config.settings.generation import GenerationSettings, ServerSettings
from formsafe.config.settings.judge import JudgeSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.files import read_jsonl
from formsafe.models.chat import render_prompt
from formsafe.models.load import load_tokenizer
from formsafe.scoring.judge import Judging, judge_answers
from tests.faulty_server import FaultyServer, completion, serving
from tests.guard import write_guard_model

LABELS = {"safe": False, "unsafe": True}
ANSWERS = ["Boil it.", "I can't help with that!", "Then <|eot_id|> wait."]


@pytest.fixture(scope="module")
def guard(tiny_model, tmp_path_factory):
    return write_guard_model(tiny_model, tmp_path_factory.mktemp("guard"))


@pytest.fixture
def judged(guard, tmp_path):
    """Judges the answers; returns the records."""

    def write(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    (tmp_path / "model.json").write_text(json.dumps({"path": str(guard), "files": {}}))
    asked = write("prompts", [{"id": f"h{n}", "source": "s", "prompt": "How?"} for n in range(len(ANSWERS))])
    answers = write("answers", [{"id": f"h{n}", "answer": text} for n, text in enumerate(ANSWERS)])

    def go(server=None):
        generation = GenerationSettings(max_new_tokens=8, server=server)
        judge = JudgeSettings(
            model="guard", prompt=None, conversation=True, parser="label", labels=LABELS, generation=generation
        )
        model = ModelSettings(path=str(guard), label="g", parameters=1e5, quantisation="none", device="cpu")
        manifest = tmp_path / "model.json" if server is None else None
        stage = Judging("guard", judge, model, manifest, None, 1, "c")
        judge_answers(stage, asked, answers, tmp_path / "scores", tmp_path / "metrics")
        return read_jsonl(tmp_path / "scores")

    return go


def test_a_local_judge_reads_the_conversation_through_its_own_template(judged):
    records = judged()
    assert [(row["label"], row["score"]) for row in records] == [("unsafe", 1), ("safe", 0), ("unsafe", 1)]
    assert {row["state"] for row in records} == {"parsed"} and records[0]["judge"] == "guard"


def test_both_sides_of_the_conversation_are_in_the_prompt(guard):
    tokenizer = load_tokenizer(guard)
    text = tokenizer.decode(render_prompt(tokenizer, "How to cook?", None, "Boil it."))
    assert "user: How to cook?\nassistant: Boil it.\n" in text


def test_a_server_gets_the_conversation(judged):
    with serving(FaultyServer(lambda number, body: ("text", completion("unsafe\nS2")))) as server:
        records = judged(ServerSettings(base_url=server.url, model="g", concurrency=1))
    assert [row["label"] for row in records] == ["unsafe"] * 3
    roles = [[message["role"] for message in body["messages"]] for body in server.bodies]
    assert roles == [["user", "assistant"]] * 3
    assert server.bodies[0]["messages"][1]["content"] == "Boil it."
