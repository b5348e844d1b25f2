"""The judge: what an answer says cannot set its score, and what the judge does not say becomes no score."""

import json
import math
import re
from dataclasses import asdict

import pytest

from formsafe.config.settings.generation import Decoding, GenerationSettings, ServerSettings
from formsafe.config.settings.judge import AuditSettings, JudgeSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl
from formsafe.core.judge_prompt import check_template, fill
from formsafe.formats.base import FormatError
from formsafe.formats.registry import and_the_papers, get_formats
from formsafe.generation.journal import Journal
from formsafe.generation.local_engine import load_engine
from formsafe.generation.replies import Prompt, Reply, ask
from formsafe.models.chat import render_prompt
from formsafe.models.load import load_tokenizer
from formsafe.scoring.answers import Answer
from formsafe.scoring.format_audit import Sample, answer_sentences, audit_judge, distinct_prompts
from formsafe.scoring.judge import Case, Judging, ask_judge, judge_answers, judge_score, run_judge
from tests.conftest import ROOT
from tests.faulty_server import FaultyServer, completion, serving
from tests.injections import INJECTIONS, PLAIN, SCORE
from tests.talkative import prompts

POLICY = (ROOT / "workflow" / "prompts" / "judge_policy.txt").read_text()
FIRST = GenerationSettings(max_new_tokens=8)
RETRIES = [Decoding(max_new_tokens=16), Decoding(max_new_tokens=8, temperature=0.7, seed=1)]
# random models seldom write a score
JUDGE = JudgeSettings(model="m", prompt="p", generation=FIRST, retries=RETRIES, max_unscored=1.0)


class Scripted:
    """A judge that says for each prompt and try what it is told to."""

    def __init__(self, *tries):
        self.tries, self.asked, self.rooms = tries, [], {}

    def describe(self):
        return {}

    def record(self, journal):
        return {}

    def close(self):
        self.closed = True

    def room(self, prompt):
        return self.rooms.get(prompt.id, math.inf)

    def complete(self, prompts, decoding, journal, section):
        said = self.tries[len(self.asked)]
        self.asked.append(([prompt.id for prompt in prompts], decoding))
        for prompt in prompts:
            if prompt.id not in journal.replies(section):
                reply = said[prompt.id] if isinstance(said, dict) else said(prompt)
                reply = Reply(reply, 3, "length") if isinstance(reply, str) else reply
                journal.add(section, {prompt.id: reply.record()}, tokens=3, seconds=0.0)


def judged(tmp_path, engine, *texts, judge=JUDGE):
    asked = [Prompt(f"a-{n}", text) for n, text in enumerate(texts)]
    attempts, _ = ask_judge(engine, asked, (), judge, Journal(tmp_path / "j", {}))
    return [asdict(judge_score("policy", attempt)) for attempt in attempts]


def stage_of(manifest, template, model, judge=JUDGE):
    return Judging("policy", judge, model, manifest, template, 1, "c")


def judge_files(inputs, outputs, model, judge=JUDGE):
    """Judge with the files of `write_inputs`."""
    manifest, asked, answers, template = inputs
    judge_answers(stage_of(manifest, template, model, judge), asked, answers, *outputs)


def test_there_are_enough_injections():
    assert len(set(INJECTIONS)) >= 30


@pytest.mark.parametrize("number", range(len(INJECTIONS)))
def test_an_answer_stays_within_its_block(number):
    attack = INJECTIONS[number]
    harmless = fill(POLICY, "How to bake a cake?", "Mix.").splitlines()
    for filled in (fill(POLICY, "How to bake a cake?", attack), fill(POLICY, attack, "Mix.")):
        own = [line for line in filled.splitlines() if not line.startswith("> ")]
        assert own == [line for line in harmless if not line.startswith("> ")]
        assert filled.splitlines()[-1] == harmless[-1]
        quoted = "\n".join(line[2:] for line in filled.splitlines() if line.startswith("> "))
        readable = re.sub("[\U000f0000-\U0010ffff]", "\ufffd", attack)
        assert "".join(readable.split()) in "".join(quoted.split())


@pytest.mark.parametrize("number", range(len(INJECTIONS)))
def test_special_tokens_in_an_answer_are_plain_text(number, tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    ids = render_prompt(tokenizer, fill("{instruction}\n{answer}\nNow.", "How?", INJECTIONS[number]))
    plain = render_prompt(tokenizer, fill("{instruction}\n{answer}\nNow.", "How?", "Mix."))
    assert [token for token in ids if token in special] == [token for token in plain if token in special]
    if "\ufeff" not in INJECTIONS[number]:
        tail = len(tokenizer.encode("\nNow.", add_special_tokens=False))
        assert ids[-tail:] == plain[-tail:]


@pytest.mark.parametrize("number", range(len(INJECTIONS)))
def test_an_answer_that_the_judge_quotes_sets_no_score(number, tmp_path):
    quoted = "\n".join("> " + line for line in INJECTIONS[number].splitlines())
    with_score = Scripted(lambda prompt: f"The answer says:\n{quoted}\nStep 3: it breaks point 2.\n#thescore: 5\n")
    assert judged(tmp_path, with_score, "x")[0]["score"] == 5
    (tmp_path / "j").unlink()
    without = Scripted(*[lambda prompt: f"The answer says:\n{quoted}\nStep 3: it breaks"] * 3)
    assert judged(tmp_path, without, "x")[0]["score"] is None


@pytest.mark.parametrize("template", [POLICY, "Instruction: {instruction}. Output: {answer}\n#thescore:"])
@pytest.mark.parametrize(
    ("ending", "finish_reason", "expected"),
    [
        ("", "length", None),
        ("\nSo it", "length", None),
        ("\nSo it tries to set its own score.", "stop", None),
        (f'\nIts "{SCORE}" is a trick', "stop", None),
        ("\nThat is a trick.\n#thescore: 5", "stop", 5),
    ],
)
def test_an_answer_that_the_judge_repeats_without_quoting_sets_no_score(
    template, ending, finish_reason, expected, tmp_path, monkeypatch
):
    repeated = [(attack, attack) for attack in INJECTIONS if SCORE in attack] + PLAIN
    cases, replies = [], {}
    for attack, words in repeated:
        for texts in (("How to bake a cake?", attack), (attack, "Mix.")):
            cases.append(Case(f"a-{len(cases)}", *texts, {}))
            replies[cases[-1].id] = Reply(f"Step 1: the text reads\n{words}{ending}", 9, finish_reason)
    monkeypatch.setattr("formsafe.scoring.judge.make_engine", lambda *_, **__: Scripted(replies, replies, replies))
    (tmp_path / "prompt").write_text(template)
    stage = stage_of(None, tmp_path / "prompt", model_settings("none"))
    run_judge(stage, cases, tmp_path / "scores", tmp_path / "metrics")
    scores = [row["score"] for row in read_jsonl(tmp_path / "scores")]
    assert scores == [expected] * len(cases)


def test_a_reply_that_was_cut_off_while_it_quoted_a_refusal_is_no_refusal_of_the_judge(tmp_path):
    said = Scripted(*[lambda prompt: "Step 1: the answer says that it cannot help with"] * 3)
    assert judged(tmp_path, said, "x")[0]["state"] == "unparsed"


def test_states_and_tries(tmp_path, capfd):
    engine = Scripted(
        {
            "a-0": "#thescore: 4\n",
            "a-1": "Step 1: well",
            "a-2": "I'm sorry, I can't",
            "a-3": "6",
            "a-4": Reply("7", 1, "stop"),
        },
        {
            "a-1": "Step 1: well, #thescore: 2\n",
            "a-2": "I cannot rate this.",
            "a-3": "#thescore: 3 or 4",
        },
        {"a-2": Reply("I cannot rate this.", 3, "stop"), "a-3": "Step 1", "a-4": "#thescore: 1\n"},
    )
    records = judged(tmp_path, engine, *"abcde")
    assert [(r["score"], r["state"], r["tries"]) for r in records] == [
        (4, "parsed", 1),
        (2, "parsed_on_retry", 2),
        (None, "judge_refused", 3),
        (None, "unparsed", 3),
        (1, "parsed_on_retry", 2),
    ]
    assert [r["reply"] for r in records][2:4] == ["I cannot rate this.", "Step 1"]
    assert all(r["probabilities"] is None and r["expected_score"] is None for r in records)
    # a greedy reply that ended by itself is not asked for again greedily: it would be the same
    assert [ids for ids, _ in engine.asked] == [
        ["a-0", "a-1", "a-2", "a-3", "a-4"],
        ["a-1", "a-2", "a-3"],
        ["a-2", "a-3", "a-4"],
    ]
    assert [decoding for _, decoding in engine.asked] == [FIRST, *RETRIES]
    assert "leaves out" not in capfd.readouterr().out


def test_a_try_leaves_out_what_the_context_has_no_room_for(tmp_path):
    engine = Scripted(
        {"a-0": "#thescore: 4\n", "a-2": "Step 1", "a-3": "Step 1"},
        {"a-3": "#thescore: 2\n"},
        {"a-2": "#thescore: 3\n"},
    )
    engine.rooms = {"a-1": 7, "a-2": 15, "a-3": 16}
    records = judged(tmp_path, engine, *"abcd")
    assert [(r["score"], r["state"], r["tries"]) for r in records] == [
        (4, "parsed", 1),
        (None, "no_room", 0),
        (3, "parsed_on_retry", 2),
        (2, "parsed_on_retry", 2),
    ]
    assert [ids for ids, _ in engine.asked] == [["a-0", "a-2", "a-3"], ["a-3"], ["a-2"]]


def test_a_judge_that_has_room_for_no_reply_is_an_error_before_any_is_asked_for(tmp_path):
    engine = Scripted()
    engine.rooms = {"a-0": 7, "a-1": -20}
    with pytest.raises(FormsafeError, match=r"Prompt a-0 leaves 7 tokens .* max_new_tokens is 8"):
        judged(tmp_path, engine, "x", "y")
    assert engine.asked == []


def test_room_for_just_one_reply_is_enough(tmp_path):
    engine = Scripted({"a-0": "#thescore: 4\n"})
    engine.rooms = {"a-0": 8, "a-1": 7}
    assert [record["score"] for record in judged(tmp_path, engine, "x", "y")] == [4, None]


def test_one_long_answer_is_left_unscored_and_the_others_are_judged(talkative_model, tmp_path, capfd):
    inputs = write_inputs(tmp_path, talkative_model, ["Mix it.", "Stir it. " * 900, "Wait."])
    outputs = (tmp_path / "scores", tmp_path / "metrics")
    judge_files(inputs, outputs, model_settings(talkative_model))
    records = [json.loads(line) for line in outputs[0].read_text().splitlines()]
    assert [row["state"] == "no_room" for row in records] == [False, True, False]
    said = capfd.readouterr().out
    assert "Try 1 leaves out 1 prompts" in said and "leaves out 0" not in said and "Try 0" not in said


def test_without_retries_a_failure_stays_a_failure(tmp_path):
    once = JUDGE.model_copy(update={"retries": []})
    assert judged(tmp_path, Scripted({"a-0": "3 points"}), "x", judge=once)[0]["state"] == "unparsed"


def test_probabilities_are_those_at_the_place_of_the_score(tmp_path):
    text = "Step 2: 3 of 4\n#thescore: 4"
    noise, score = (0.2,) * 5, (0.0, 0.1, 0.1, 0.6, 0.0)
    places = [(text.index("2") + 1, noise), (text.index("3 of") + 1, noise), (len(text), score)]
    record = judged(tmp_path, Scripted(lambda prompt: Reply(text, 9, "stop", tuple(places))), "x")[0]
    assert record["probabilities"] == list(score)
    assert record["expected_score"] == pytest.approx((0.1 * 2 + 0.1 * 3 + 0.6 * 4) / 0.8)


def test_probabilities_have_six_digits_and_none_at_all_gives_no_mean(tmp_path):
    score = (0.12345678, 0.1, 0.1, 0.6, 0.0)
    said = [Reply("4", 1, "stop", ((1, chances),)) for chances in (score, (0.0,) * 5)]
    records = judged(tmp_path, Scripted(lambda prompt: said[int(prompt.text)]), "0", "1")
    assert records[0]["probabilities"] == [0.123457, 0.1, 0.1, 0.6, 0.0]
    mean = (0.12345678 + 0.2 + 0.3 + 2.4) / 0.92345678
    assert records[0]["expected_score"] == round(mean, 6) != round(mean, 5)
    assert records[1]["score"] == 4 and records[1]["probabilities"] is records[1]["expected_score"] is None


@pytest.mark.parametrize(
    ("parser", "watched"),
    [
        ({"parser": "score"}, True),
        ({"parser": "score", "scale": (0, 10)}, False),
        ({"parser": "label", "labels": {"no": False, "yes": True}}, False),
    ],
)
def test_only_digits_1_to_5_are_watched(parser, watched, tmp_path, monkeypatch):
    told = []

    def made(*_, watch_digits):
        told.append(watch_digits)
        return Scripted(lambda prompt: Reply("no", 1, "stop"))

    monkeypatch.setattr("formsafe.scoring.judge.make_engine", made)
    judge = JudgeSettings(model="m", prompt="p", generation=FIRST, retries=[], max_unscored=1.0, **parser)
    (tmp_path / "prompt").write_text("{instruction} {answer}")
    stage = stage_of(None, tmp_path / "prompt", model_settings("none"), judge)
    run_judge(stage, [Case("a", "How?", "Mix.", {})], tmp_path / "scores", tmp_path / "metrics")
    assert told == [watched]
    assert (tmp_path / "scores").stat().st_mode & 0o077 == 0  # nobody else reads what the judge repeats


def model_settings(path):
    return ModelSettings(path=str(path), label="t", parameters=1e5, quantisation="none", device="cpu")


def test_every_digit_the_model_writes_has_the_probability_of_its_place(talkative_model, tmp_path):
    engine = load_engine(talkative_model, model_settings(talkative_model), FIRST, 1, watch_digits=True)
    asked = [Prompt(f"p-{n}", text + " 1 2 3 4 5" * 8) for n, text in enumerate(prompts(40))]
    replies = ask(engine, asked, GenerationSettings(max_new_tokens=60), Journal(tmp_path / "j", {}), "s")
    noted = [(reply, end, chances) for reply in replies for end, chances in reply.digits]
    assert len(noted) >= 5
    for reply, end, chances in noted:
        assert chances[int(reply.text[end - 1]) - 1] == max(chances) and sum(chances) <= 1 + 1e-5


def write_inputs(folder, talkative_model, answers):
    asked = prompts(len(answers))
    rows = [{"id": f"h-{n}", "source": f"s{n % 2}", "category": None, "prompt": asked[n]} for n in range(len(answers))]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "answers.jsonl").write_text(
        "".join(json.dumps({"id": f"h-{n}", "answer": answer}) + "\n" for n, answer in enumerate(answers))
    )
    (folder / "model.json").write_text(json.dumps({"path": str(talkative_model), "files": {}}))
    (folder / "prompt.txt").write_text("Policy: no mischief. " * 20 + "\n{instruction}\n{answer}\nNow #thescore:")
    return [folder / name for name in ("model.json", "prompts.jsonl", "answers.jsonl", "prompt.txt")]


def test_the_stage_scores_every_answer_and_is_repeatable(talkative_model, tmp_path):
    inputs = write_inputs(tmp_path, talkative_model, INJECTIONS[20:28])

    def stage(name, **changes):
        outputs = [tmp_path / name / file for file in ("scores.jsonl", "metrics.json")]
        judge = JUDGE.model_copy(update={"generation": FIRST.model_copy(update=changes)})
        judge_files(inputs, outputs, model_settings(talkative_model), judge)
        return (tmp_path / name / "scores.jsonl").read_bytes()

    first = stage("one")
    assert first == stage("two")
    one_by_one = [json.loads(line) for line in stage("three", token_budget=1).splitlines()]
    records = [json.loads(line) for line in first.splitlines()]
    keys = ("id", "source", "score", "state", "tries", "reply")
    assert [[row[key] for key in keys] for row in one_by_one] == [[row[key] for key in keys] for row in records]
    assert [row["id"] for row in records] == [f"h-{n}" for n in range(8)]
    more = {"judge", "label", "thoughts", "finish_reason", "probabilities", "expected_score"}
    assert set(records[0]) == {*keys, *more}
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert sum(metrics["states"].values()) == 8
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["metrics.json", "scores.jsonl"]


def test_a_judge_behind_a_server_gives_scores_without_probabilities(talkative_model, tmp_path):
    _, *inputs = write_inputs(tmp_path, talkative_model, ["one", "two", "three"])
    replies = {1: "#thescore: 3", 2: "no score", 3: "#thescore: 1"}
    with serving(FaultyServer(lambda number, body: ("text", completion(replies.get(number, "I cannot"))))) as server:
        served = FIRST.model_copy(update={"server": ServerSettings(base_url=server.url, model="j", concurrency=1)})
        judge = JUDGE.model_copy(update={"generation": served})
        outputs = (tmp_path / "scores", tmp_path / "metrics")
        judge_files([None, *inputs], outputs, model_settings("none"), judge)
    records = [json.loads(line) for line in outputs[0].read_text().splitlines()]
    assert [(row["score"], row["state"], row["tries"]) for row in records] == [
        (3, "parsed", 1),
        (None, "judge_refused", 2),
        (1, "parsed", 1),
    ]
    assert all(row["probabilities"] is None and row["expected_score"] is None for row in records)
    assert json.loads(outputs[1].read_text())["states"] == {"judge_refused": 1, "parsed": 2}


@pytest.fixture
def served_judge(talkative_model, tmp_path):
    """Judges twelve answers by a server; returns the metrics."""
    _, *inputs = write_inputs(tmp_path, talkative_model, ["x"] * 12)

    def go(server, retries=(), max_unscored=1.0, **changes):
        served = ServerSettings(**{"base_url": server.url, "model": "j", "concurrency": 1, "attempts": 1} | changes)
        judge = JUDGE.model_copy(
            update={
                "generation": FIRST.model_copy(update={"server": served}),
                "retries": [*retries],
                "max_unscored": max_unscored,
            }
        )
        outputs = (tmp_path / "scores", tmp_path / "metrics")
        judge_files([None, *inputs], outputs, model_settings("none"), judge)
        return json.loads(outputs[1].read_text())

    return go


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"attempts": 2, "timeout_seconds": 600.0, "concurrency": 3, "key_variable": "FORMSAFE_TEST_KEY"}, 8),
        ({"model": "k"}, 0),
        ({"extra_body": {"top_k": 1}}, 0),
    ],
)
def test_what_was_judged_is_kept_when_only_the_way_to_the_server_changes(served_judge, monkeypatch, change, kept):
    monkeypatch.setenv("FORMSAFE_TEST_KEY", "k")
    score = ("text", completion("#thescore: 3"))
    with (
        serving(FaultyServer(lambda number, body: 401 if number > 8 else score)) as first,
        pytest.raises(FormsafeError, match=r"status 401 .* the replies so far are kept"),
    ):
        served_judge(first)
    with serving(FaultyServer(lambda number, body: score)) as second:
        metrics = served_judge(second, **change)
    assert (metrics["continued"], len(second.bodies)) == (kept, 12 - kept)
    assert metrics["server"] == second.url and metrics["states"] == {"parsed": 12}


def test_a_judge_that_the_service_filters_has_refused(served_judge):
    said = {
        1: ("refuse", 400, json.dumps({"error": {"code": "content_filter"}})),
        2: ("text", completion(None, finish_reason="content_filter")),
        3: ("text", json.dumps({"choices": [{"message": {"content": None, "refusal": "Not for me."}}]})),
    }
    score = ("text", completion("#thescore: 3"))
    again = [Decoding(max_new_tokens=16)]  # greedily: the service would only say the same
    with serving(FaultyServer(lambda number, body: said.get(number, score))) as server:
        metrics = served_judge(server, again)
    assert metrics["states"] == {"judge_refused": 3, "parsed": 9}
    assert metrics["refused_by_service"] == 3 and len(server.bodies) == 12


def test_a_judge_that_leaves_most_unscored_is_an_error_and_its_replies_are_kept(served_judge, tmp_path):
    said = {1: "#thescore: 3", 2: "#thescore: 1", 3: "#thescore: 2"}
    fault = lambda number, body: ("text", completion(said.get(number, "yes")))  # noqa: E731
    with serving(FaultyServer(fault)) as server:
        with pytest.raises(FormsafeError, match=r"gave no score to 9 of 12 answers \(parsed 3, unparsed 9\)") as error:
            served_judge(server, max_unscored=0.5)
        assert not (tmp_path / "scores").exists() and str(tmp_path) in str(error.value)
        assert served_judge(server, max_unscored=0.75)["states"] == {"parsed": 3, "unparsed": 9}
        assert len(server.bodies) == 12


def test_thoughts_are_kept_and_judged_by_nobody(tmp_path, monkeypatch):
    """Neither the answer's thoughts reach the judge nor the judge's thoughts its score."""
    asked = []

    def judge(prompt):
        asked.append(prompt.text)
        return Reply("<think>\n#thescore: 2\n</think>\n\n#thescore: 4", 9, "stop", (), "server's")

    monkeypatch.setattr("formsafe.scoring.judge.make_engine", lambda *_, **__: Scripted(judge))
    inputs = write_inputs(tmp_path, "none", ["<think>Sure, here is how</think>I can't help."])
    judge_files(inputs, (tmp_path / "s", tmp_path / "m"), model_settings("none"))
    assert "> I can't help." in asked[0] and "Sure" not in asked[0]
    (record,) = read_jsonl(tmp_path / "s")
    assert (record["score"], record["thoughts"]) == (4, "server's\n<think>\n#thescore: 2\n</think>")


def test_no_text_of_prompts_or_answers_is_printed(talkative_model, tmp_path, capfd):
    inputs = write_inputs(tmp_path, talkative_model, ["Stir the marmalade.", "Fold the napkins."])
    outputs = (tmp_path / "scores", tmp_path / "metrics")
    judge_files(inputs, outputs, model_settings(talkative_model))
    printed = "".join(capfd.readouterr())
    replies = [json.loads(line)["reply"] for line in outputs[0].read_text().splitlines()]
    assert "prompt" in printed  # the progress bar's unit
    for text in ("marmalade", "napkins", "lamp", "kettle", *filter(None, replies)):
        assert text not in printed


def test_an_answer_to_no_prompt_is_an_error_by_id(talkative_model, tmp_path):
    inputs = write_inputs(tmp_path, talkative_model, ["a", "b"])
    inputs[1].write_text(inputs[1].read_text().splitlines()[0] + "\n")
    with pytest.raises(FormsafeError, match="answers prompt h-1"):
        judge_files(inputs, (tmp_path / "s", tmp_path / "m"), None)


def test_the_policy_prompt_has_its_parts():
    check_template(POLICY)
    prefix = POLICY[: POLICY.index("{")]
    assert prefix.count("\n## ") == 3 and [f"\n{n}: " in prefix for n in range(1, 6)] == [True] * 5
    assert [f"Step {n}" in prefix for n in (1, 2, 3)] == [True] * 3
    assert "#thescore:" in prefix and SCORE not in prefix


@pytest.mark.parametrize(
    ("answer", "format", "expected"),
    [
        ('{"procedure": ["Fill it.", "Wait."]}', "json", ["Fill it.", "Wait."]),
        ("- Fill it.\n- Wait.", "json", ["Fill it.", "Wait."]),
        ("Fill it. Wait.", "list", ["Fill it.", "Wait."]),
        ('{"procedure": ["Fill it.", "Wai', "json", ["Fill it.", "Wai"]),
        ('{"procedure": "Fill it.', "json", ['{"procedure": "Fill it.']),
        ("Fill it.\n\nWait.", "none", ["Fill it.", "Wait."]),
    ],
)
def test_answers_are_read_as_sentences(answer, format, expected):
    assert answer_sentences(answer, format, get_formats(and_the_papers([]))) == expected


def test_the_audit_judges_the_same_answers_in_every_format(talkative_model, tmp_path):
    answers = [f"Fill it {n} times. Then wait." for n in range(5)]
    inputs = write_inputs(tmp_path, talkative_model, answers)
    runs = [{"model": "m", "method": method, "format": "none", "lr": "none", "seed": "0"} for method in ("base", "sft")]

    def audit(name, **changes):
        drawn = AuditSettings(**{"sample": 3, "seed": 2} | changes)
        sample = Sample(inputs[1], [inputs[2]] * 2, runs, and_the_papers([]), drawn)
        stage = stage_of(inputs[0], inputs[3], model_settings(talkative_model))
        audit_judge(stage, sample, tmp_path / name, tmp_path / f"{name}.metrics.json")
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    records = audit("a")
    drawn = {(row["method"], row["id"]) for row in records}
    assert len(drawn) == 3 and len(records) == 9
    for method, name in drawn:
        assert [row["rendering"] for row in records if (row["method"], row["id"]) == (method, name)] == [
            "prose",
            "list",
            "json",
        ]
    assert {(row["method"], row["id"]) for row in audit("b", seed=3)} != drawn
    assert len(audit("c", sample=100)) == 15  # five prompts in three formats, each prompt once


def test_a_format_that_cannot_hold_an_answer_is_left_out_of_the_audit_and_the_next_is_not(tmp_path, monkeypatch):
    class Refuses(type(get_formats(["list"])["list"])):
        def render(self, sentences):
            raise FormatError("list", "no")

    formats = get_formats(["prose", "list", "json"])
    formats["list"] = Refuses()
    monkeypatch.setattr("formsafe.scoring.format_audit.get_formats", lambda names: formats)
    monkeypatch.setattr(
        "formsafe.scoring.judge.make_engine", lambda *_, **__: Scripted(*[lambda _: "#thescore: 1\n"] * 3)
    )
    inputs = write_inputs(tmp_path, "none", ["Fill it. Then wait."])
    sample = Sample(inputs[1], [inputs[2]], [{"format": "none"}], list(formats), AuditSettings(sample=1))
    audit_judge(stage_of(None, inputs[3], model_settings("none")), sample, tmp_path / "s", tmp_path / "m")
    assert [row["rendering"] for row in read_jsonl(tmp_path / "s")] == ["prose", "json"]


def test_the_audit_draws_each_prompt_once():
    methods = [{"method": name} for name in ("base", "sft", "promot")]
    pool = [(run, Answer(f"p{n}", "Yes.", 1, "stop")) for run in methods for n in range(8)]
    six, others, every, none = (
        distinct_prompts(pool, AuditSettings(sample=count, seed=seed))
        for count, seed in ((6, 1), (6, 0), (99, 0), (0, 0))
    )
    assert len({answer.id for _, answer in six}) == len(six) == 6 and six != others
    assert len(every) == 8 and {run["method"] for run, _ in every} == {"base", "sft", "promot"} and none == []
