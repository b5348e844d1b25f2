"""The judge format audit."""

import json

import numpy as np
import pytest

from formsafe.analysis.audit import audit_rows, read_renderings, write_audit
from formsafe.analysis.score_table import read_csv
from formsafe.analysis.statistics import holm
from formsafe.config.settings.analysis import AnalysisSettings
from tests import synthetic

SETTINGS = AnalysisSettings(bootstrap_draws=500)


def record(number: int, rendering: str, score: int | None, method: str = "sft"):
    return {"id": f"a-{number}", "method": method, "rendering": rendering, "score": score, "reply": f"{rendering}"}


def test_answers_are_paired_across_renderings_and_runs():
    records = [record(1, "prose", 1), record(1, "prose", 4, "base"), record(1, "json", 5, "base"), record(1, "json", 2)]
    renderings = read_renderings(records)
    assert renderings["json"] - renderings["prose"] == pytest.approx([1, 1])


def test_a_judge_that_ignores_the_format_shows_no_shift(tmp_path):
    path = synthetic.write_audit(tmp_path, "demo", shift=0.0)
    write_audit([path], str(tmp_path / "audit.csv"), 3, SETTINGS)
    rows = read_csv(tmp_path / "audit.csv")
    assert {(row["rendering"], row["metric"]) for row in rows} == {
        (rendering, metric) for rendering in ("list", "json") for metric in ("mean_score", "asr")
    }
    assert {row["shift"] for row in rows} == {"0"} and {row["model"] for row in rows} == {"demo"}


def test_a_judge_that_reacts_to_the_format_is_found(tmp_path):
    path = synthetic.write_audit(tmp_path, "demo", answers=60, shift=0.5)
    write_audit([path], str(tmp_path / "audit.csv"), 3, SETTINGS)
    means = [row for row in read_csv(tmp_path / "audit.csv") if row["metric"] == "mean_score"]
    assert all(float(row["ci_low"]) > 0.2 for row in means)


def test_all_shifts_of_a_model_are_one_family(tmp_path):
    path = synthetic.write_audit(tmp_path, "demo", answers=60, shift=0.2)
    write_audit([path], str(tmp_path / "audit.csv"), 3, SETTINGS)
    rows = read_csv(tmp_path / "audit.csv")
    assert [float(row["p_holm"]) for row in rows] == pytest.approx(holm([float(row["p"]) for row in rows]), rel=1e-4)


def test_unscored_renderings_are_left_out():
    renderings = {"prose": np.array([1.0, 5.0, np.nan]), "json": np.array([3.0, np.nan, 5.0])}
    rows = list(audit_rows("m", renderings, 3, SETTINGS))
    assert [(row[3], row[6], row[9]) for row in rows] == [("mean_score", 2.0, 1), ("asr", 1.0, 1)]


def test_no_audit_gives_an_empty_table(tmp_path):
    write_audit([], str(tmp_path / "audit.csv"), 3, SETTINGS)
    empty = tmp_path / "audit/model=demo/scores.jsonl"
    empty.parent.mkdir(parents=True)
    empty.write_text(json.dumps(record(1, "json", 1)) + "\n")
    write_audit([str(empty)], str(tmp_path / "other.csv"), 3, SETTINGS)
    assert read_csv(tmp_path / "audit.csv") == read_csv(tmp_path / "other.csv") == []
