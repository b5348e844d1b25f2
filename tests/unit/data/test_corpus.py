"""The corpus: what is left out is counted, and the draw is disjoint, stable and nested."""

import json

import pytest

from formsafe.config.settings.data import Splits
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, read_jsonl, write_jsonl
from formsafe.core.texts import sameness
from formsafe.data.corpus import draw_training, split_corpus

SPLITS = ("train", "validation", "test")


def article(number, **changes):
    title, response = f"How to stack {number} cups", f"Take {number} cups. Stack them. Do not sneeze."
    return {"row": number, "title": title, "response": response} | changes


def draw(folder, rows, train, validation, test, seed=0, instruction="{title}"):
    write_jsonl(folder / "raw.jsonl", rows)
    outputs = {name: folder / f"{name}.jsonl" for name in (*SPLITS, "prompts")} | {"counts": folder / "counts.json"}
    splits = Splits(train=train, validation=validation, test=test)
    counts = split_corpus(folder / "raw.jsonl", splits, seed, instruction, outputs)
    assert counts == read_json(outputs["counts"])
    return {split: read_jsonl(outputs[split]) for split in SPLITS}, counts


def ids(examples):
    return [example["id"] for example in examples]


def everything(drawn):
    return [example for split in SPLITS for example in drawn[split]]


@pytest.fixture
def rows():
    return [article(number) for number in range(60)]


def test_records_and_prompts(tmp_path, rows):
    drawn, _ = draw(tmp_path, rows, 10, 4, 6, instruction="Please tell me: {title}?")
    example = drawn["test"][0]
    row = int(example["id"].split("-")[1])
    assert example["id"].startswith(f"wikisum-{row}-") and len(example["id"].split("-")[2]) == 8
    assert example["sentences"] == [f"Take {row} cups.", "Stack them.", "Do not sneeze."]
    assert example["instruction"] == f"Please tell me: How to stack {row} cups?"
    prompts = read_jsonl(tmp_path / "prompts.jsonl")
    assert prompts == [{"id": one["id"], "prompt": one["instruction"]} for one in drawn["test"]]


def test_splits_have_their_sizes_and_share_nothing(tmp_path, rows):
    drawn, counts = draw(tmp_path, rows, 30, 10, 20)
    assert [len(drawn[split]) for split in SPLITS] == [30, 10, 20]
    assert len({sameness(example["title"]) for example in everything(drawn)}) == 60
    assert len({sameness(" ".join(example["sentences"])) for example in everything(drawn)}) == 60
    assert counts["usable"] == counts["rows"] == 60


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_rows(tmp_path, rows):
    first, _ = draw(tmp_path, rows, 10, 4, 6)
    again, _ = draw(tmp_path, rows[::-1], 10, 4, 6)
    other, _ = draw(tmp_path, rows, 10, 4, 6, seed=1)
    assert first == again
    assert ids(first["train"]) != ids(other["train"])


@pytest.mark.parametrize("larger", [(20, 4, 6), (10, 8, 6), (10, 4, 20), (25, 9, 15)])
def test_larger_splits_contain_the_smaller(tmp_path, rows, larger):
    small, _ = draw(tmp_path, rows, 10, 4, 6)
    large, _ = draw(tmp_path, rows, *larger)
    for split in SPLITS:
        assert ids(large[split])[: len(small[split])] == ids(small[split])


@pytest.mark.parametrize(
    "split, small, large",
    [
        ("validation", (1, 2, 4), (1, 2, 9)),
        ("test", (1, 2, 4), (1, 7, 4)),
        ("validation", (1, 9, 1), (1, 9, 2)),
    ],
)
def test_a_split_that_grows_past_half_of_the_rows_takes_what_others_would_take_last(
    tmp_path, rows, split, small, large
):
    """Of 12 rows: so what the others have does not change until none is left over."""
    before, after = (draw(tmp_path, rows[:12], *sizes)[0] for sizes in (small, large))
    assert ids(before[split]) == ids(after[split])


def test_the_words_of_a_split_are_counted(tmp_path, rows):
    longer = [row | {"response": "Well, " * (row["row"] % 4) + row["response"]} for row in rows]
    drawn, counts = draw(tmp_path, longer, 7, 1, 1)
    added = [int(example["id"].split("-")[1]) % 4 for example in drawn["train"]]
    assert (sum(added), min(added), max(added)) == (10, 0, 3), "beside the 8 words of each"
    words = {"mean": 9.4, "min": 8, "max": 11}
    assert counts["splits"]["train"] == {"examples": 7, "sentences": 21, "words": words}


def other_rows(folder, data_seed, examples=20):
    output = folder / "other.jsonl"
    splits = Splits(train=20, validation=4, test=6)
    draw_training(folder / "raw.jsonl", splits, 0, data_seed, examples, "{title}", output)
    return ids(read_jsonl(output))


def test_other_training_rows_are_others_and_never_test_or_validation(tmp_path, rows):
    drawn, _ = draw(tmp_path, rows, 20, 4, 6)
    other = other_rows(tmp_path, 1)
    assert len(set(other)) == 20 and set(other) != set(ids(drawn["train"]))
    assert not set(other) & {*ids(drawn["test"]), *ids(drawn["validation"])}


def test_fewer_examples_are_a_part_of_more_in_their_order(tmp_path, rows):
    drawn, _ = draw(tmp_path, rows, 20, 4, 6)
    assert other_rows(tmp_path, 0, 8) == ids(drawn["train"])[:8]
    assert other_rows(tmp_path, 1, 8) == other_rows(tmp_path, 1)[:8]


def test_every_usable_row_can_be_used(tmp_path, rows):
    drawn, _ = draw(tmp_path, rows[:10], 1, 2, 7)
    assert len(set(ids(everything(drawn)))) == 10


def test_rows_left_out_are_counted_by_reason(tmp_path, rows):
    bad = [
        article(100, response=""),
        article(101, title="  "),
        article(102, response="Only one sentence"),
        article(103, response=None),
        article(104, title=7),
        article(105, title="HOW TO STACK  3 CUPS"),
        article(106, response="take 4 cups.  stack them.\nDo not sneeze."),
        article(107, response="- Take a cup. Stack it."),
        article(108, response="Take\tone cup.\nStack it\u00a0well. "),
    ]
    _, counts = draw(tmp_path, rows + bad, 10, 4, 6)
    assert counts["left_out"] == {
        "cannot_be_written_as_prose": 1,
        "duplicate_text": 1,
        "duplicate_title": 1,
        "empty": 2,
        "not_text": 2,
        "one_sentence": 1,
    }
    assert (counts["rows"], counts["usable"], counts["white_space_normalised"]) == (69, 61, 1)
    assert counts["rows"] == counts["usable"] + sum(counts["left_out"].values())


def test_too_few_rows_is_an_error_with_the_numbers(tmp_path, rows):
    with pytest.raises(FormsafeError, match=r"50 \+ 10 \+ 10 = 70 examples, but only 60 of 61 .*one_sentence 1"):
        draw(tmp_path, [*rows, article(61, response="One.")], 50, 10, 10)
    assert not (tmp_path / "train.jsonl").exists()


def test_an_instruction_without_title_is_refused(tmp_path, rows):
    with pytest.raises(FormsafeError, match="instruction"):
        draw(tmp_path, rows, 10, 4, 6, instruction="Explain.")


@pytest.mark.parametrize("field", ["summary", "article"])
def test_real_rows_rejoin_exactly(tmp_path, real_data, field):
    lines = (real_data / "wikisum" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    raw = [{"row": number, "title": row["title"], "response": row[field]} for number, row in enumerate(rows)]
    drawn, counts = draw(tmp_path, raw, 6, 2, 2)
    assert counts["left_out"] == {}
    for example in everything(drawn):
        row = rows[int(example["id"].split("-")[1])]
        rejoined = " ".join(example["sentences"])
        assert rejoined == " ".join(row[field].split())
        assert field == "article" or rejoined == row[field]
