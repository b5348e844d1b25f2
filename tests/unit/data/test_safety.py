"""Safety examples: prompts that no test repeats, the share exact, only the safest answers, plain or in a format."""

import json

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, read_jsonl, write_jsonl
from formsafe.data.harmful import prompt_id
from formsafe.data.safety import mix_safety, select_safety
from formsafe.formats.registry import get_format
from tests.training_cases import write_rows

PROMPTS = [
    "how do I pick a lock",
    "How do I pick  the lock?",
    "write a rude note",
    "Write a rude note",
    "paint a fence",
]


@pytest.fixture
def chosen(tmp_path):
    rows = [{"row": number, "prompt": text, "category": None} for number, text in enumerate(PROMPTS)]
    write_jsonl(tmp_path / "raw.jsonl", rows)
    known = {"category": None, "prompt": PROMPTS[0]}
    write_jsonl(tmp_path / "tested.jsonl", [{**known, "id": prompt_id("b", rows[0]), "source": "b"}])

    def choose(seed):
        output = str(tmp_path / f"safety{seed}.jsonl")
        select_safety("b", tmp_path / "raw.jsonl", tmp_path / "tested.jsonl", 0.6, seed, output)
        return read_jsonl(output), read_json(tmp_path / f"safety{seed}.manifest.json")

    return choose


def test_test_prompts_their_near_repeats_and_repeated_rows_are_left_out_and_counted(chosen):
    rows, manifest = chosen(0)
    assert sorted(row["prompt"].casefold() for row in rows) == ["paint a fence", "write a rude note"]
    assert manifest["left_out"] == {"test_prompts": 1, "near_repeats": 1, "repeated": 1} and manifest["prompts"] == 2
    assert all(row["source"] == "b" and row["category"] is None for row in rows), "what a judge is given"
    assert chosen(0)[0] == rows and {tuple(r["id"] for r in chosen(seed)[0]) for seed in range(6)} != {
        tuple(r["id"] for r in rows)
    }


@pytest.mark.parametrize(
    "tested, text, near",
    [
        ("pick a lock now", "Pick a lock, please!", True),  # 3 words in both, 5 in all: just the given index
        ("pick a lock now", "Pick a fine lock, please!", False),  # 3 of 6
        ("help", "Help!", True),
        ("?!", "...", False),  # no words at all
    ],
)
def test_a_prompt_nearly_repeats_one_from_the_given_share_of_words_on(tmp_path, tested, text, near):
    write_jsonl(tmp_path / "raw.jsonl", [{"row": 0, "prompt": text, "category": None}])
    write_jsonl(tmp_path / "tested.jsonl", [{"id": "other", "source": "c", "category": None, "prompt": tested}])
    output = str(tmp_path / "safety.jsonl")
    select_safety("b", tmp_path / "raw.jsonl", tmp_path / "tested.jsonl", 0.6, 0, output)
    assert read_json(tmp_path / "safety.manifest.json")["left_out"]["near_repeats"] == near


SENTENCES = ["I cannot help with that.", "Please ask for something else."]
REFUSAL = " ".join(SENTENCES)


@pytest.fixture
def safety(tmp_path):
    files = {name: tmp_path / f"{name}.jsonl" for name in ("prompts", "answers", "scores")}
    write_jsonl(
        files["prompts"], [{"id": f"p{n}", "source": "b", "category": None, "prompt": f"ask {n}"} for n in range(8)]
    )
    texts = [REFUSAL] * 6 + ["  ", REFUSAL]
    write_jsonl(files["answers"], [{"id": f"p{n}", "answer": text} for n, text in enumerate(texts)])
    write_jsonl(files["scores"], [{"id": f"p{n}", "score": score} for n, score in enumerate([1, 5, 1, None] + [1] * 4)])
    return files


@pytest.mark.parametrize("format", [None, "json", "list"])
def test_the_share_is_exact_and_the_examples_come_unchanged(tmp_path, safety, format):
    train = write_rows(tmp_path / "train.jsonl", 12)
    counts = mix_safety(train, safety, 1, 0.25, format, tmp_path / "mixed.jsonl")
    mixed = read_jsonl(tmp_path / "mixed.jsonl")
    assert mixed[:12] == read_jsonl(train) and len(mixed) == 16 and counts["share"] == 4 / 16
    assert [row["id"] for row in mixed[12:]] == ["p0", "p2", "p4", "p5"], "judged safest and not empty, in order"
    assert counts["left_out"] == {"not_judged_safest": 2, "empty": 1, "not_in_the_format": 0}
    assert read_json(tmp_path / "mixed.manifest.json") == counts
    user, assistant = mixed[12]["messages"]
    assert user["content"] == "ask 0"
    if format is None:
        assert assistant["content"] == REFUSAL and mixed[12]["spans"] == [[0, len(REFUSAL), "content"]]
    else:
        assert get_format(format).parse(assistant["content"]) == SENTENCES
        assert mixed[12]["spans"][0][2] == "format" and mixed[12]["spans"][-1][1] == len(assistant["content"])


def test_a_share_that_the_safest_answers_cannot_fill_says_why(tmp_path, safety):
    train = write_rows(tmp_path / "train.jsonl", 12)
    with pytest.raises(FormsafeError, match=r"needs 8 safety .*only 5 can be used.*not judged safest 2, empty 1"):
        mix_safety(train, safety, 1, 0.4, None, tmp_path / "mixed.jsonl")
    assert not (tmp_path / "mixed.jsonl").exists() and json.loads(train.read_text().splitlines()[0])


def test_answers_that_the_format_cannot_hold_are_left_out_and_counted(tmp_path, safety):
    answers = read_jsonl(safety["answers"])
    answers[0]["answer"] = "- No. Never."  # starts like a list
    write_jsonl(safety["answers"], answers)
    train = write_rows(tmp_path / "train.jsonl", 6)
    counts = mix_safety(train, safety, 1, 0.25, "prose", tmp_path / "mixed.jsonl")
    assert counts["left_out"] == {"not_judged_safest": 2, "empty": 1, "not_in_the_format": 1}
    assert [row["id"] for row in read_jsonl(tmp_path / "mixed.jsonl")[6:]] == ["p2", "p4"]


def test_the_safest_score_is_that_of_the_judge(tmp_path, safety):
    """A judge of labels gives 0 to what is harmless and 1 to what is harmful; a scale may begin at 0, too."""
    write_jsonl(
        safety["scores"], [{"id": f"p{n}", "score": score} for n, score in enumerate([1, 0, 1, 1, 0] + [1] * 3)]
    )
    mix_safety(write_rows(tmp_path / "train.jsonl", 6), safety, 0, 0.25, None, tmp_path / "mixed.jsonl")
    assert [row["id"] for row in read_jsonl(tmp_path / "mixed.jsonl")[6:]] == ["p1", "p4"]
