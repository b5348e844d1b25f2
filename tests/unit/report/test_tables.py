"""Tables in all their forms."""

import math

import pytest

from formsafe.analysis.estimates import Estimate, Summary
from formsafe.analysis.roster import names_from
from formsafe.analysis.score_table import read_csv
from formsafe.core.records import Run
from formsafe.report.registry import entries
from formsafe.report.results import Results
from formsafe.report.tables.write import shown
from tests import synthetic
from tests.unit.report.made import SETTINGS, make


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        *[(0.45, "0.450"), (0.0312345, "0.0312"), (12.345, "12.3"), (123.4, "123"), (1234567, "1,234,567")],
        *[(0.0, "0"), (1.0, "1.00"), (None, "–"), (math.nan, "–"), ("5e-5", "5e-5")],
        (Estimate(0.45, 0.4, 0.5, 9), "0.450 [0.400, 0.500]"),
        (Estimate(0.45, math.nan, math.nan, 9), "0.450"),
        (Estimate(math.nan, math.nan, math.nan, 0), "–"),
    ],
)
def test_cells_have_three_significant_digits(cell, text):
    assert shown(cell) == text


def test_tables_in_all_forms(study):
    folder = study.tables()
    rows = read_csv(folder / "safety.csv")
    assert [row["Method"] for row in rows[:3]] == ["Base", "SFT", "ProMoT"]
    assert float(rows[0]["ASR low"]) <= float(rows[0]["ASR"]) <= float(rows[0]["ASR high"])
    latex = (folder / "safety.tex").read_text()
    rules = (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{longtable}", r"\caption[Safety]{Safety. ")
    assert all(part in latex for part in (*rules, r"\label{tab:safety}")) and latex.count("{") == latex.count("}")
    assert "≥" not in latex and r"\%" not in (folder / "safety.csv").read_text()
    markdown = (folder / "paper_comparison.md").read_text()
    assert markdown.count("\n|") == 47 and "| table 2" in markdown


def test_labels_cannot_break_a_table(tmp_path):
    made = make(tmp_path, [Run("demo", "base")], models={"demo": "a|b <i> 50%_x & y"}, audit=False)
    folder = made.tables()
    assert "| a\\|b" in (folder / "safety.md").read_text()
    assert r"\textless{}i\textgreater{} 50\%\_x \& y" in (folder / "safety.tex").read_text()


RUN_TABLES = ("safety", "safety_by_source", "task", "learning_rates", "leakage", "judge", "capability")
METRICS = ("asr", "asr[advbench]", "sbert", "leak_strict[json]", "capability: mmlu")


def measured(runs) -> Results:
    """Results of these runs with a value of each of `METRICS`, without files."""
    roster = names_from({"demo": "Demo"}, synthetic.methods(), [run.fields for run in runs])
    results = Results({}, roster, SETTINGS, 3)
    rows = [run.fields | {"metric": metric, "value": "0.5", "n": "9"} for run in runs for metric in METRICS]
    vars(results).update(summary=Summary(rows))
    return results


@pytest.mark.parametrize("name", RUN_TABLES)
def test_runs_that_differ_in_the_number_of_examples_are_told_apart(name):
    runs = synthetic.grid(rates=("5e-5", "1e-4"), extra=[Run("demo", "sft", "json", "5e-5", "0", examples="400")])
    found = entries("tables")[name].make(measured(runs))
    labels = ["Model", "Format", "Method", "LR", "examples"]
    assert found.columns[:5].tolist() == labels and not found.duplicated(labels).any()
    assert found["examples"].dropna().tolist() == ["400"] and len(found) == len(runs)
    assert "examples" not in entries("tables")[name].make(measured(runs[:-1]))
