"""Fetching: the sources meant are taken, broken copies of them are recognised or refused."""

import csv
import json

import pytest
import yaml

from formsafe.config.settings.data import CorpusSettings, DataSource, HarmfulSettings, Splits
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, read_jsonl
from formsafe.core.texts import sha256
from formsafe.sources.fetch import fetch_corpus, fetch_harmful
from tests.conftest import ROOT

GNOMES = [
    (f"Hide {number} of my neighbour's gnomes", f"Sure, here is how to hide {number} gnomes") for number in range(50)
]


@pytest.fixture(scope="module")
def paper():
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["harmful"]


def write_csv(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([header, *rows] if header else rows)
    return path


def fetch(folder, path, name="gnomes", **expected):
    settings = {"source": DataSource(path=str(path)), "licence": "MIT", "prompt_column": "goal", "count": 1}
    fetch_harmful(f"harmful.{name}", HarmfulSettings(**settings | expected), folder / "raw.jsonl", folder / "lock.yaml")
    return read_jsonl(folder / "raw.jsonl"), read_json(folder / "raw.manifest.json")


def expected_of(settings):
    return {key: settings.get(key) for key in ("prompt_column", "category_column", "rows", "digest")}


REAL = {
    "advbench": "advbench/harmful_behaviors.csv",
    "beavertails": "beavertails_evaluation/test.jsonl",
    "directharm4": "directharm4/test.jsonl",
}


@pytest.mark.parametrize("name", REAL)
def test_the_real_sources_have_the_digests_of_the_configuration(tmp_path, real_data, paper, name):
    rows, manifest = fetch(tmp_path, real_data / REAL[name], name, **expected_of(paper[name]))
    counts = {len(rows), manifest["rows"], paper[name]["rows"]}
    assert manifest["digest_checked"] and len(counts) == 1
    edges = "harmful.beavertails: removed white space at the edges of 39 prompts"
    assert manifest["notes"] == ([edges] if name == "beavertails" else [])
    assert all(row["prompt"] == row["prompt"].strip() for row in rows)
    assert not (tmp_path / "lock.yaml").exists()  # local files are the user's own
    assert not any(row["prompt"] in json.dumps(manifest) for row in rows)


@pytest.fixture
def advbench(tmp_path, real_data, paper):
    """Take the real AdvBench through a change and fetch the outcome."""
    with open(real_data / REAL["advbench"], encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)

    def changed(change):
        path = write_csv(tmp_path / "copy.csv", *change(header, rows))
        return fetch(tmp_path, path, "advbench", **expected_of(paper["advbench"])), rows

    return changed


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda header, rows: (None, rows), "has no header"),
        (lambda header, rows: (header[::-1], rows), "holds answers, not requests: 520 of 520"),
        (lambda header, rows: (header, rows[:52]), "expected 520 rows, found 52. The copy is cut"),
        (lambda header, rows: (header, rows[:519]), "expected 520 rows, found 519"),
        (lambda header, rows: (header, rows[1:] + rows[:1]), "not those expected"),
        (lambda header, rows: (header, [[rows[0][0] + "!", ""], *rows[1:]]), "not those expected"),
        (
            lambda header, rows: (["prompt", "target"], rows),
            "expected a column `goal`, found 'prompt', 'target'.*`harmful.advbench.prompt_column`",
        ),
        (lambda header, rows: (header, [["", ""], *rows[1:]]), "row 0 has no text in the column `goal`"),
        (lambda header, rows: (header, [rows[0][:1], *rows[1:]]), "1 fields where the first line has 2"),
    ],
)
def test_broken_copies_are_refused_without_showing_a_prompt(advbench, tmp_path, change, message):
    with pytest.raises(FormsafeError, match=message) as refusal:
        advbench(change)
    shown = (tmp_path / "copy.csv").read_text(encoding="utf-8").splitlines()
    words = {field for line in csv.reader(shown) for field in line if len(field.split()) > 3}
    assert not any(field in str(refusal.value) for field in words)
    assert not (tmp_path / "raw.jsonl").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda header, rows: (["Goal", " target "], rows),
        lambda header, rows: (["", *header], [[number, *row] for number, row in enumerate(rows)]),
        lambda header, rows: (header, [[f"  {goal}\n", target] for goal, target in rows]),
        lambda header, rows: (header[:1], [row[:1] for row in rows]),
    ],
)
def test_harmless_differences_are_recognised(advbench, change):
    (records, manifest), rows = advbench(change)
    found, meant = (
        sha256("\n".join(texts)) for texts in ([row["prompt"] for row in records], [row[0] for row in rows])
    )
    assert found == meant  # digests, since a failure would print what it compares
    assert manifest["digest_checked"]


def test_a_renamed_column_is_noted(tmp_path):
    _, manifest = fetch(tmp_path, write_csv(tmp_path / "copy.csv", ["Goal", "target"], GNOMES))
    assert manifest["notes"] == ["harmful.gnomes: took the column 'Goal' for 'goal'"]


def test_white_space_that_was_removed_is_noted(tmp_path, capsys):
    rows = [[f" {goal}" if number < 3 else goal] for number, (goal, _) in enumerate(GNOMES)]
    _, manifest = fetch(tmp_path, write_csv(tmp_path / "copy.csv", ["goal"], rows))
    assert manifest["notes"] == ["harmful.gnomes: removed white space at the edges of 3 prompts"]
    assert manifest["notes"][0] in capsys.readouterr().out


@pytest.mark.parametrize(
    "header, message",
    [
        (["goal", "Goal"], r"'goal', 'Goal' may all be meant by `goal`"),
        (["Goal", " GOAL"], r"'Goal', ' GOAL' may all be meant by `goal`"),
        (["goal", "goal"], r"copy\.csv: columns 1, 2 have the same name"),
    ],
)
def test_a_column_that_is_there_twice_is_refused(tmp_path, header, message):
    with pytest.raises(FormsafeError, match=message):
        fetch(tmp_path, write_csv(tmp_path / "copy.csv", header, GNOMES))


def test_another_digest_tells_of_swapped_columns_too(tmp_path):
    with pytest.raises(FormsafeError, match=r"not those expected.*moved, or the column `goal`.*names are swapped"):
        fetch(tmp_path, write_csv(tmp_path / "copy.csv", ["goal"], [["x"]]), digest="0" * 64)


def test_without_digest_swapped_columns_are_still_seen(tmp_path):
    with pytest.raises(FormsafeError, match="holds answers"):
        fetch(tmp_path, write_csv(tmp_path / "copy.csv", ["target", "goal"], GNOMES))


@pytest.mark.parametrize(("answers", "refused"), [(4, False), (5, False), (6, True)])
def test_answers_are_seen_when_they_are_more_than_half(tmp_path, answers, refused):
    rows = [[f"Sure, here is gnome {number}" if number < answers else f"Hide gnome {number}"] for number in range(10)]
    path = write_csv(tmp_path / "copy.csv", ["goal"], rows)
    if refused:
        with pytest.raises(FormsafeError, match="holds answers, not requests: 6 of 10 rows"):
            fetch(tmp_path, path)
    else:
        assert len(fetch(tmp_path, path)[0]) == 10


@pytest.mark.parametrize("value", ["  \n", "", 7, None, "\ud800"])
@pytest.mark.parametrize("column", ["goal", "kind"])
def test_every_prompt_and_category_is_text(tmp_path, value, column):
    row = {"goal": "Hide a gnome", "kind": "theft"}
    rows = [row, {**row, column: value}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(FormsafeError, match=f"harmful.gnomes: row 1 has no text in the column `{column}`"):
        fetch(tmp_path, tmp_path / "rows.jsonl", category_column="kind")


def test_the_manifest_says_whether_the_prompts_were_checked(tmp_path):
    path = write_csv(tmp_path / "copy.csv", ["goal"], [["Hide a gnome"], ["Hide two"]])
    _, unchecked = fetch(tmp_path, path)
    _, checked = fetch(tmp_path, path, digest=unchecked["prompts_digest"])
    assert (unchecked["digest_checked"], checked["digest_checked"]) == (False, True)
    assert checked["prompts_digest"] == unchecked["prompts_digest"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("three words long", r"expected a column `goal`, found <16 characters, 528637f7>\. Take the original"),
        ("these are four words", r"holds data, not column names: .* found <20 characters, c471ed3e>\. The file has no"),
        ("x" * 30, rf"found '{'x' * 30}'\. Take"),
        ("x" * 31, r"found <31 characters, 0f46e4b0>\. Take"),
    ],
)
def test_a_name_that_may_be_a_prompt_is_shown_by_its_length_and_digest(tmp_path, column, message):
    with pytest.raises(FormsafeError, match=message):
        fetch(tmp_path, write_csv(tmp_path / "copy.csv", [column], [["Hide a gnome"]]))


def test_an_empty_source_is_refused(tmp_path):
    with pytest.raises(FormsafeError, match="has no rows"):
        fetch(tmp_path, write_csv(tmp_path / "copy.csv", ["goal"], []))


def fetch_articles(folder, articles, columns=None, rows=None):
    (folder / "wikisum.jsonl").write_text("".join(json.dumps(row) + "\n" for row in articles), encoding="utf-8")
    source = DataSource(path=str(folder / "wikisum.jsonl"))
    splits = Splits(train=1, validation=1, test=1)
    corpus = CorpusSettings(source=source, licence="MIT", splits=splits, rows=rows, **(columns or {}))
    fetch_corpus(corpus, folder / "raw.jsonl", folder / "lock.yaml")
    return read_jsonl(folder / "raw.jsonl"), read_json(folder / "raw.manifest.json")


ARTICLES = [{"url": "u", "title": f"How to {n}", "summary": f"Do {n}.", "article": f"Do {n} now."} for n in range(5)]


def test_articles_keep_title_and_response(tmp_path):
    rows, manifest = fetch_articles(tmp_path, ARTICLES, {"response_field": "article"}, rows=5)
    assert rows[3] == {"row": 3, "title": "How to 3", "response": "Do 3 now."}
    assert (manifest["rows"], manifest["columns"]) == (5, ["url", "title", "summary", "article"])


def test_articles_that_are_not_text_stay_countable(tmp_path):
    rows, _ = fetch_articles(tmp_path, [*ARTICLES, {"title": "x", "summary": "\ud800"}, {"title": 7, "summary": None}])
    assert [rows[5]["response"], rows[6]["title"], rows[6]["response"]] == [None, None, None]
    rows, _ = fetch_articles(tmp_path, [*ARTICLES, {"title": "the columns are those of the first row"}])
    assert rows[5]["response"] is None


def test_a_corpus_with_other_column_names_is_read_by_the_settings_that_the_error_names(tmp_path):
    other = [{"heading": f"How to {n}", "text": f"Do {n}."} for n in range(3)]
    with pytest.raises(FormsafeError, match=r"`title`, found 'heading', 'text'.*`corpus\.title_field`"):
        fetch_articles(tmp_path, other)
    with pytest.raises(FormsafeError, match=r"`summary`, found 'heading', 'text'.*`corpus\.response_field`"):
        fetch_articles(tmp_path, other, {"title_field": "heading"})
    rows, _ = fetch_articles(tmp_path, other, {"title_field": "heading", "response_field": "text"})
    assert rows[2] == {"row": 2, "title": "How to 2", "response": "Do 2."}


def test_articles_of_another_number_are_refused(tmp_path):
    with pytest.raises(FormsafeError, match=r"corpus: expected 6 rows, found 5\. .*cut.* set corpus\.rows"):
        fetch_articles(tmp_path, ARTICLES, rows=6)
    with pytest.raises(FormsafeError, match=r"corpus: expected 3 rows, found more\. .* set corpus\.rows"):
        fetch_articles(tmp_path, ARTICLES, rows=3)
    with pytest.raises(FormsafeError, match="has no rows"):
        fetch_articles(tmp_path, [])
    assert not (tmp_path / "raw.jsonl").exists()
