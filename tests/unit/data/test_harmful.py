"""Which prompts are used, and under which ids."""

from collections import Counter

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, read_jsonl, write_jsonl
from formsafe.data.harmful import prompt_id, select_harmful, select_rows

ROWS = [
    {"row": number, "prompt": f"Hide {number} of my neighbour's gnomes", "category": "abcd"[number % 4]}
    for number in range(40)
]


def rows_of(chosen):
    return [row["row"] for row in chosen]


def test_first_takes_the_first():
    assert rows_of(select_rows("gnomes", ROWS, 10, "first", 0)) == list(range(10))


@pytest.mark.parametrize("select", ["first", "stratified", "sample"])
def test_all_rows_can_be_chosen(select):
    assert rows_of(select_rows("gnomes", ROWS, 40, select, 0)) == list(range(40))


def test_stratified_takes_equally_many_a_category():
    chosen = select_rows("gnomes", ROWS, 22, "stratified", 0)
    assert sorted(Counter(row["category"] for row in chosen).values()) == [5, 5, 6, 6]
    assert rows_of(chosen) == sorted(rows_of(chosen))


def test_stratified_fills_up_where_a_category_is_small():
    rows = [row | {"category": "rare" if row["row"] < 2 else "common"} for row in ROWS]
    assert Counter(row["category"] for row in select_rows("gnomes", rows, 20, "stratified", 0)) == {
        "rare": 2,
        "common": 18,
    }


@pytest.mark.parametrize("select", ["first", "stratified", "sample"])
def test_more_prompts_contain_the_fewer(select):
    few, many = (set(rows_of(select_rows("gnomes", ROWS, count, select, 3))) for count in (9, 25))
    assert few < many


def test_only_rows_of_the_named_categories_are_chosen():
    chosen = select_rows("gnomes", ROWS, 15, "first", 0, ["a", "c"])
    assert {row["category"] for row in chosen} == {"a", "c"} and len(chosen) == 15
    with pytest.raises(FormsafeError, match=r"no category 'safe'; see benign\.gnomes\.category_column"):
        select_rows("benign.gnomes", ROWS, 15, "first", 0, ["unsafe", "a", "safe"])
    with pytest.raises(FormsafeError, match="asks for 25 prompts, but the source has 20"):
        select_rows("gnomes", ROWS, 25, "first", 0, ["a", "c"])


def test_a_sample_depends_on_its_seed_alone():
    chosen = rows_of(select_rows("gnomes", ROWS, 15, "sample", 1))
    assert chosen == rows_of(select_rows("gnomes", ROWS[::-1], 15, "sample", 1))
    assert chosen != rows_of(select_rows("gnomes", ROWS, 15, "sample", 2))


def test_impossible_choices_are_refused():
    with pytest.raises(FormsafeError, match="asks for 41 prompts, but the source has 40"):
        select_rows("gnomes", ROWS, 41, "first", 0)
    with pytest.raises(FormsafeError, match="category_column"):
        select_rows("gnomes", [row | {"category": None} for row in ROWS], 4, "stratified", 0)


@pytest.mark.parametrize("kind", ["harmful", "benign"])
def test_an_error_names_the_source_by_its_key(tmp_path, kind):
    write_jsonl(tmp_path / "raw.jsonl", ROWS)
    choices = {"gnomes": {"count": 41, "select": "first", "seed": 0}}
    with pytest.raises(FormsafeError, match=rf"^{kind}\.gnomes\.count asks for"):
        select_harmful({"gnomes": tmp_path / "raw.jsonl"}, choices, tmp_path / f"{kind}.jsonl", tmp_path / "m.json")


def test_ids_depend_on_source_row_and_text_only():
    assert prompt_id("gnomes", ROWS[3]) == prompt_id("gnomes", ROWS[3] | {"prompt": f"  {ROWS[3]['prompt']}\n"})
    assert prompt_id("gnomes", ROWS[3]) == "gnomes-3-2589ee7a"
    assert len({prompt_id("gnomes", row) for row in ROWS}) == 40


def test_one_file_in_the_order_of_the_configuration(tmp_path):
    raw = {name: tmp_path / f"{name}.jsonl" for name in ("flamingos", "gnomes")}
    for path in raw.values():
        write_jsonl(path, ROWS)
    choices = {
        name: {"count": count, "select": "first", "seed": 0} for name, count in [("gnomes", 3), ("flamingos", 2)]
    }
    prompts = select_harmful(raw, choices, tmp_path / "prompts.jsonl", tmp_path / "manifest.json")
    assert [prompt.model_dump() for prompt in prompts] == read_jsonl(tmp_path / "prompts.jsonl")
    assert [prompt.source for prompt in prompts] == ["gnomes"] * 3 + ["flamingos"] * 2
    assert set(prompts[0].model_dump()) == {"id", "source", "category", "prompt"}
    manifest = read_json(tmp_path / "manifest.json")
    assert (manifest["prompts"], manifest["repeated_prompts"]) == (5, 2)
    assert "gnomes" not in str(manifest).replace("'gnomes'", "")
    assert manifest["sources"]["gnomes"]["categories"] == {"a": 1, "b": 1, "c": 1}


def test_rows_without_a_category_are_in_no_count_of_categories(tmp_path):
    write_jsonl(tmp_path / "raw.jsonl", [row | {"category": None} for row in ROWS])
    choices = {"gnomes": {"count": 2, "select": "first", "seed": 0}}
    select_harmful({"gnomes": tmp_path / "raw.jsonl"}, choices, tmp_path / "p.jsonl", tmp_path / "m.json")
    assert read_json(tmp_path / "m.json")["sources"]["gnomes"]["categories"] == {}


def test_the_first_300_of_beavertails_are_balanced(real_data):
    rows = read_jsonl(real_data / "beavertails_evaluation" / "test.jsonl")
    rows = [{"row": number, "prompt": row["prompt"], "category": row["category"]} for number, row in enumerate(rows)]
    for select in ("first", "stratified"):
        counts = Counter(row["category"] for row in select_rows("beavertails", rows, 300, select, 0))
        assert len(counts) == 14 and set(counts.values()) == {21, 22}
