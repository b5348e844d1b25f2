"""The judge format audit."""

import json

import pytest

from formsafe.analysis.audit import audit_shifts, read_renderings, write_audit
from formsafe.analysis.score_table import read_csv
from formsafe.analysis.statistics import holm
from formsafe.config.settings.analysis import AnalysisSettings
from tests import synthetic

SETTINGS = AnalysisSettings()


def record(number: int, rendering: str, score: int | None, method: str = "sft"):
    return {"id": f"a-{number}", "method": method, "rendering": rendering, "score": score, "reply": f"{rendering}"}


def test_answers_are_paired_across_renderings_and_runs():
    records = [record(1, "prose", 1), record(1, "prose", 4, "base"), record(1, "json", 5, "base"), record(1, "json", 2)]
    renderings = read_renderings(records)
    assert (renderings["json"] - renderings["prose"]).tolist() == [1, 1]


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
    scores = {"prose": (1, 5, None), "json": (3, None, 5)}
    renderings = read_renderings(
        record(n, name, score) for name, each in scores.items() for n, score in enumerate(each)
    )
    rows = audit_shifts("m", "policy", renderings, 3, SETTINGS)
    assert [(row.metric, row.shift, row.n) for row in rows] == [("mean_score", 2.0, 1), ("asr", 1.0, 1)]


def test_a_shift_of_the_asr_has_its_sign_a_detectable_size_and_an_interval_of_equality():
    scores = {"prose": [1] * 30 + [5] * 10, "json": [1] * 20 + [5] * 20}
    renderings = read_renderings(
        record(n, name, score) for name, each in scores.items() for n, score in enumerate(each)
    )
    row = audit_shifts("m", "policy", renderings, 3, SETTINGS)[1]
    assert (row.reference_value, row.value, row.shift) == (0.25, 0.5, 0.25)
    assert (row.only_reference, row.only_rendering, row.n) == (0, 10, 40)
    assert row.ci_low < row.equal_low < row.shift < row.equal_high < row.ci_high and row.p_holm < 0.01
    ninety = audit_shifts("m", "policy", renderings, 3, AnalysisSettings(confidence=0.9))[1]
    assert (row.equal_low, row.equal_high) == (ninety.ci_low, ninety.ci_high)
    assert 0.1 < row.detectable < 0.3 and (row.judge, row.rendering, row.reference) == ("policy", "json", "prose")


def test_a_rise_is_detectable_up_to_all_that_the_reference_leaves():
    scores = {"prose": [1] * 12, "json": [5] * 11 + [1]}
    renderings = read_renderings(
        record(n, name, score) for name, each in scores.items() for n, score in enumerate(each)
    )
    row = audit_shifts("m", "policy", renderings, 3, SETTINGS)[1]
    assert 0.4 < row.detectable < 0.9 and row.value > 0.9


def test_answers_to_one_prompt_are_one_cluster():
    """Four runs answered the same prompts alike: 40 answers, but the error of ten prompts."""
    scores = {"prose": [1] * 10, "json": [5, 5, 5, 1, 1, 1, 1, 1, 1, 1]}
    one = [record(n, name, score) for name, each in scores.items() for n, score in enumerate(each)]
    four = [row | {"method": method} for row in one for method in ("sft", "base", "promot", "kept")]
    single, several = (audit_shifts("m", "j", read_renderings(rows), 3, SETTINGS)[1] for rows in (one, four))
    assert (single.n, several.n) == (10, 40)
    assert several.ci_high - several.ci_low > 0.85 * (single.ci_high - single.ci_low)


def test_no_audit_gives_an_empty_table(tmp_path):
    write_audit([], str(tmp_path / "audit.csv"), 3, SETTINGS)
    empty = tmp_path / "audit/model=demo/scores.jsonl"
    empty.parent.mkdir(parents=True)
    empty.write_text(json.dumps(record(1, "json", 1)) + "\n")
    write_audit([str(empty)], str(tmp_path / "other.csv"), 3, SETTINGS)
    assert read_csv(tmp_path / "audit.csv") == read_csv(tmp_path / "other.csv") == []
