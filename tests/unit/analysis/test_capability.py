"""Capability in the summary: lm-eval's own errors for one training, the scatter of several."""

import math

import pytest
from scipy import stats

from formsafe.analysis.roster import condition_of
from formsafe.analysis.summary import over_trainings, read_abilities
from formsafe.core.files import write_json
from formsafe.core.layout import Layout
from formsafe.core.records import Run
from formsafe.report.registry import entries
from tests.unit.report.made import make

BASE, SFT = Run("demo", "base"), [Run("demo", "sft", "json", "5e-5", seed) for seed in "012"]


def written(root, run, value, stderr=0.02):
    path = root / Layout("s").capability(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"abilities": [{"task": "mmlu", "metric": "acc", "value": value, "stderr": stderr, "n": 100}]})
    return str(path)


def test_one_training_has_the_interval_of_lm_evals_error_and_several_that_of_their_scatter(tmp_path):
    values = [0.5, 0.6, 0.64]
    found = read_abilities([written(tmp_path, run, value) for run, value in zip(SFT, values, strict=True)], 0.95)
    alone = over_trainings(found, SFT[:1], 0.95)["capability: mmlu acc"]
    assert (alone.low, alone.high) == pytest.approx((0.5 - 1.959964 * 0.02, 0.5 + 1.959964 * 0.02))
    together = over_trainings(found, SFT, 0.95)["capability: mmlu acc"]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (together.value, together.low, together.high) == pytest.approx((0.58, low, high))
    assert (together.n, together.trainings) == (300, 3)
    open_end = read_abilities([written(tmp_path, BASE, 0.7, None)], 0.95)[BASE]["capability: mmlu acc"]
    assert open_end.value == 0.7 and math.isnan(open_end.low)
    assert over_trainings(found, [BASE], 0.95) == {}


def test_two_trainings_have_an_interval_and_a_task_of_one_of_them_none(tmp_path):
    found = read_abilities(
        [written(tmp_path, run, value) for run, value in zip(SFT[:2], (0.5, 0.6), strict=True)], 0.95
    )
    one, name = found[SFT[0]], "capability: mmlu acc"
    one["capability: only here"] = one[name]
    together = over_trainings(found, SFT, 0.9)
    low, high = stats.ttest_1samp([0.5, 0.6], 0).confidence_interval(0.9)
    assert (together[name].value, together[name].low, together[name].high) == pytest.approx((0.55, low, high))
    assert together[name].scatter == pytest.approx(0.1 / math.sqrt(2))
    single = together["capability: only here"]
    assert (single.value, single.trainings) == (0.5, 1) and math.isnan(single.low) and math.isnan(single.scatter)


def test_the_summary_and_a_table_have_what_was_measured(tmp_path):
    made = make(tmp_path, [BASE, *SFT])
    table = entries("tables")["capability"].make
    assert table(made.results()).empty and "Capability</h3>" not in made.page().read_text()
    made.files["capability"] = [written(tmp_path, BASE, 0.7), written(tmp_path, SFT[1], 0.6)]
    made.summarise()
    summary = made.results().summary
    assert summary.get(BASE, "capability: mmlu acc").value == 0.7
    assert summary.get(condition_of(SFT[0]), "capability: mmlu acc").value == 0.6
    rows = table(made.results())
    assert list(rows["Method"]) == ["Base", "SFT"] and "Capability</h3>" in made.page().read_text()
