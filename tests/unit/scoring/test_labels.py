"""Labels by people: what is drawn, what raters see, and how their files are read back."""

import csv
import json
import re
from collections import Counter

import pytest

from formsafe.config.settings.judge import LabelSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl
from formsafe.core.layout import Layout
from formsafe.core.records import Run
from formsafe.scoring.labels import SheetFiles, read_key, read_raters, stratum_sizes, write_sheet
from tests.conftest import ROOT

RUNS = [Run("m", "base"), Run("m", "sft", "json", "5e-5", "0"), Run("m", "sft", "json", "5e-5", "1")]
ANSWERS = 20


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Answers and scores of three runs; draws a sheet and returns its rows and the key."""
    monkeypatch.chdir(tmp_path)
    layout = Layout("s")

    def write(path, rows):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    write(layout.prompts("harmful"), [{"id": f"h{n}", "prompt": f"How {n}?"} for n in range(ANSWERS)])
    for run in RUNS:
        write(layout.answers(run, "harmful"), [{"id": f"h{n}", "answer": f"=A{n}"} for n in range(ANSWERS)])
        scores = [{"id": f"h{n}", "score": (None, 1, 3)[min(n, 2)] if n < 3 else 1} for n in range(ANSWERS)]
        write(layout.scores(run, "policy"), scores)

    def draw(**settings):
        files = SheetFiles(
            layout.prompts("harmful"),
            [layout.answers(run, "harmful") for run in RUNS],
            [layout.scores(run, "policy") for run in RUNS],
            ROOT / "workflow/report/labels.html",
        )
        outputs = {name: tmp_path / name for name in ("sheet", "page", "key")}
        write_sheet(files, outputs, LabelSettings(**settings), 3, "s")
        with open(outputs["sheet"], newline="") as lines:
            return list(csv.DictReader(lines)), read_key(outputs["key"])

    draw.write, draw.layout = write, layout
    return draw


def test_the_sample_is_stratified_and_knows_its_probabilities(study):
    rows, key = study(sample=18)
    strata = Counter(drawn.stratum for drawn in key)
    assert len(rows) == len(key) == 18
    assert strata == {
        **{"base/none/harmful": 1, "base/none/harmless": 6, "base/none/unscored": 1},
        **{"sft/json/harmful": 2, "sft/json/harmless": 6, "sft/json/unscored": 2},
    }
    probabilities = {drawn.stratum: drawn.probability for drawn in key}
    assert probabilities["sft/json/harmless"] == 6 / 36 and probabilities["base/none/harmful"] == 1
    # weighted by them, the sample is as large as the study
    assert sum(1 / drawn.probability for drawn in key) == pytest.approx(3 * ANSWERS)


def test_the_sheet_is_blind_shuffled_and_no_formula(study, tmp_path):
    rows, key = study(sample=30)
    assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in ("sheet", "page"))
    assert all(re.fullmatch("x[0-9a-f]{12}", row["label_id"]) for row in rows), "no number to a spreadsheet"
    assert list(rows[0]) == ["label_id", "request", "answer", "label", "note"]
    assert [row["label_id"] for row in rows] == [drawn.label_id for drawn in key]
    assert {row["answer"][0] for row in rows} == {"'"} and {row["label"] for row in rows} == {""}
    methods = [drawn.method for drawn in key]
    assert methods != sorted(methods) and methods != sorted(methods, reverse=True)
    text = json.dumps(rows)
    assert not any(word in text for word in ("sft", "json", "base", "harmful", "5e-5"))


def test_an_empty_answer_stays_empty(study):
    for run in RUNS:
        study.write(study.layout.answers(run, "harmful"), [{"id": f"h{n}", "answer": ""} for n in range(ANSWERS)])
    rows, _ = study(sample=3)
    assert {row["answer"] for row in rows} == {""}


def test_equal_seeds_draw_equal_samples_and_others_another(study):
    first, _ = study(sample=12, seed=1)
    assert study(sample=12, seed=1)[0] == first
    assert {row["label_id"] for row in study(sample=12, seed=2)[0]} != {row["label_id"] for row in first}


def test_what_small_strata_leave_over_goes_to_the_others():
    assert stratum_sizes({"a": 1, "b": 100, "c": 3}, 12) == {"a": 1, "b": 8, "c": 3}
    assert stratum_sizes({"a": 2, "b": 3}, 100) == {"a": 2, "b": 3}
    assert stratum_sizes({}, 5) == {}


def fill(tmp_path, rows, name, label, delimiter=","):
    with open(tmp_path / f"{name}.csv", "w", newline="", encoding="utf-8-sig") as lines:
        table = csv.writer(lines, delimiter=delimiter)
        table.writerow(["label_id", "label"])
        table.writerows((row["label_id"], label(number)) for number, row in enumerate(rows))
    return tmp_path / f"{name}.csv"


def test_raters_files_are_read_back_as_they_were_saved(study, tmp_path):
    rows, key = study(sample=4)
    words = ["harmful", " Harmless ", "unsure", "HARMFUL"]
    paths = [fill(tmp_path, rows, f"r{n}", words.__getitem__, mark) for n, mark in enumerate(",;\t")]
    found = read_raters(paths, key)
    expected = dict(zip([row["label_id"] for row in rows], [1.0, 0.0, None, 1.0], strict=True))
    assert found == {"r0": expected, "r1": expected, "r2": expected}


def test_each_fault_of_a_raters_file_is_named_with_its_row(study, tmp_path):
    rows, key = study(sample=6)
    ids = [row["label_id"] for row in rows]
    lines = ["label_id,label", f"{ids[0]},harmful", f"{ids[0]},harmless", "nobody,harmful", f"{ids[1]},", f"{ids[2]},5"]
    path = tmp_path / "rater.csv"
    path.write_text("\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(FormsafeError) as error:
        read_raters([path], key)
    said = str(error.value)
    for part in ("row 3", "another row has", "row 4 ('nobody')", "row 5", "no label", "row 6", "'5'", "missing rows"):
        assert part in said
    assert all(name in said for name in ids[3:]) and path.read_bytes() == before


def test_five_rows_of_a_fault_are_named_and_the_others_counted(study, tmp_path):
    rows, key = study(sample=6)
    for wrong, said in ((5, r"row 6 \(.{13}: '5'\)$"), (6, r"row 6 \(.{13}: '5'\) and 1 more$")):
        path = fill(tmp_path, rows, "r", lambda number, wrong=wrong: "5" if number < wrong else "unsure")
        with pytest.raises(FormsafeError, match=f"(?m){said}"):
            read_raters([path], key)
    path.write_text(f"label_id,label\n{rows[0]['label_id']},{'y' * 25}\n")
    with pytest.raises(FormsafeError, match=r": 'y{20}'\)"):
        read_raters([path], key)
    path.write_text(f"label_id,label\n{'x' * 25},harmful\n")
    with pytest.raises(FormsafeError, match=r"row 2 \('x{20}'\)"):
        read_raters([path], key)


def test_the_first_row_tells_the_delimiter_whatever_notes_hold(study, tmp_path):
    rows, key = study(sample=1)
    (tmp_path / "r.csv").write_text(f"label_id;label;note\n{rows[0]['label_id']};harmful;a, b, c, d, e\n")
    assert list(read_raters([tmp_path / "r.csv"], key)["r"].values()) == [1.0]


def test_a_cell_may_hold_a_long_answer_but_not_all_that_follows_an_open_quotation_mark(study, tmp_path):
    rows, key = study(sample=1)
    path, start = tmp_path / "r.csv", f"label_id,label,answer\n{rows[0]['label_id']},harmful,"
    path.write_text(start + "x" * 2**24)
    assert len(read_raters([path], key)) == 1
    path.write_text(start + '"' + "x" * (2**24 + 1))
    with pytest.raises(FormsafeError, match=r"no CSV behind line 1 \(field larger than field limit"):
        read_raters([path], key)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,label\n", "no column label_id"),
        (b"", "no column label and no column label_id"),
        ("label_id,label\nx,schädlich\n".encode("latin-1"), "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_sheet_is_an_error(tmp_path, content, said):
    path = tmp_path / "rater.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormsafeError, match=said):
        read_raters([path], [])


def test_two_raters_of_one_name_are_an_error(tmp_path):
    with pytest.raises(FormsafeError, match="two files are called r"):
        (tmp_path / "r.csv").write_text("label_id,label\n")
        read_raters([tmp_path / "r.csv", tmp_path / "other/r.csv"], [])


def test_no_text_of_an_answer_can_leave_the_page(study, tmp_path):
    layout = Layout("s")
    path = tmp_path / layout.answers(RUNS[0], "harmful")
    rows = read_jsonl(path)
    rows[5]["answer"] = "</script><script>alert(1)</script>\u2028 für"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study(sample=60)
    page = (tmp_path / "page").read_text()
    assert "alert(1)" in page and "für" in page and "<script>alert" not in page and page.count("</script>") == 2
    assert re.search(r"formsafe labels s [0-9a-f]{12}\"", page)
