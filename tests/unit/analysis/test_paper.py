"""The paper's numbers, and ours beside them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from formsafe.analysis.estimates import Estimate, Summary, wilson
from formsafe.analysis.paper import PaperComparison, Published, compare_with_paper
from formsafe.analysis.score_table import read_records
from formsafe.core.records import Run
from formsafe.report.registry import entries
from tests import synthetic
from tests.unit.report.made import PAPER, SWEEP, Made, make


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Made:
    """The demo's shape, with the main model's name so that the paper has numbers for it."""
    runs = synthetic.grid(extra=SWEEP)
    return make(tmp_path_factory.mktemp("study"), runs, models={"demo": L3})


def test_the_papers_numbers_are_all_there_with_their_places():
    numbers = read_records(PAPER, Published)
    assert len(numbers) == 45
    by_place = {place: [each for each in numbers if each.place == place] for place in {each.place for each in numbers}}
    assert {place: len(found) for place, found in by_place.items()} == {
        "figure 3": 5,
        "figure 5": 3,
        "table 1": 14,
        "table 2": 14,
        "table 4": 9,
    }


L3, L2, LR = "Llama-3.1-8B-Instruct", "Llama-2-7B-Chat", "5e-5"
PRINTED = {  # model, method, format, lr: ASR (scores of 3 or more), ROUGE-L, S-BERT; None: not printed
    (L3, "base", "none", "none"): (0.060, 0.128, 0.863),
    (L3, "sft", "json", LR): (0.720, 0.247, 0.909),
    (L3, "sft", "list", LR): (0.612, 0.240, 0.888),
    (L3, "sft", "prose", LR): (0.451, 0.245, 0.886),
    (L3, "promot", "json", LR): (None, 0.135, 0.870),
    (L3, "promot", "list", LR): (None, 0.136, 0.873),
    (L3, "promot", "prose", LR): (0.088, 0.137, 0.875),
    (L3, "promot", "prose", "1e-4"): (0.096, None, 0.881),
    (L3, "promot", "prose", "2e-4"): (0.132, None, 0.894),
    (L3, "promot", "prose", "3e-4"): (0.235, None, 0.893),
    (L3, "promot", "prose", "5e-4"): (0.565, None, 0.893),
    (L2, "base", "none", "none"): (0.033, 0.134, 0.870),
    (L2, "sft", "json", LR): (0.227, 0.230, 0.886),
    (L2, "sft", "list", LR): (None, 0.211, None),
    (L2, "sft", "prose", LR): (None, 0.234, None),
    (L2, "promot", "json", LR): (0.036, 0.135, None),
    (L2, "promot", "list", LR): (None, 0.136, None),
    (L2, "promot", "prose", LR): (None, 0.134, None),
}


def test_the_papers_numbers_are_those_it_prints():
    expected = {
        (*run, metric): value
        for run, values in PRINTED.items()
        for metric, value in zip(("asr_3", "rouge_l", "sbert"), values, strict=True)
        if value is not None
    }
    numbers = read_records(PAPER, Published)
    assert len(expected) == 39
    assert {(each.model, each.method, each.format, each.lr, each.metric): each.value for each in numbers} == expected


def test_the_papers_numbers_agree_where_they_stand_twice():
    seen: dict[tuple[str, ...], float] = {}
    for each in read_records(PAPER, Published):
        key = (each.model, each.method, each.format, each.lr, each.metric)
        assert seen.setdefault(key, each.value) == each.value


def test_comparison_with_the_paper(study):
    found = compare_with_paper(PAPER, Summary.read(study.csv("summary")), study.names)
    by_verdict = {
        verdict: [each for each in found if each.verdict == verdict] for verdict in ("inside", "outside", "not run")
    }
    assert sum(map(len, by_verdict.values())) == 45
    for each in by_verdict["inside"] + by_verdict["outside"]:
        low, high = each.prediction
        assert each.difference == each.ours.value - each.published.value != 0
        assert low < each.ours.low and each.ours.high < high
        assert (low <= each.published.value <= high) == (each in by_verdict["inside"])
    assert {each.published.model for each in by_verdict["not run"]} == {"Llama-3.1-8B-Instruct", "Llama-2-7B-Chat"}
    assert all(each.published.lr in ("3e-4", "5e-4") for each in by_verdict["not run"] if "3.1" in each.published.model)


def test_the_papers_asr_is_held_against_scores_of_3_or_more(tmp_path):
    made = make(tmp_path, synthetic.grid(), models={"demo": L3}, threshold=5)
    summary = Summary.read(made.csv("summary"))
    found = [each for each in compare_with_paper(PAPER, summary, made.names) if each.ours]
    asr = [each for each in found if each.published.value == 0.720]
    (json_run,) = {each.condition for each in asr}
    assert asr[0].ours == summary.get(json_run, "asr_3") != summary.get(json_run, "asr")
    panels = entries("figures")["paper"].make(made.results(), "demo").axes
    assert "ASR (scores ≥ 3)" in [axes.get_xlabel() for axes in panels]
    assert "ASR (≥ 3)" in (made.tables(("md",), ["paper_comparison"]) / "paper_comparison.md").read_text()


def test_what_has_no_interval_or_no_score_is_not_called_outside():
    number, run = read_records(PAPER, Published)[0], Run("demo", "base")
    verdicts = [
        PaperComparison(number, run, ours).verdict
        for ours in (Estimate(0.5, math.nan, math.nan, 9), Estimate(math.nan, math.nan, math.nan, 0), None)
    ]
    assert verdicts == ["no interval", "no scores", "not run"]


def test_a_run_without_harmful_prompts_was_run_all_the_same(tmp_path):
    made = make(tmp_path, [Run("demo", "base")], models={"demo": L3}, audit=False, harmful=0)
    found = compare_with_paper(PAPER, Summary.read(made.csv("summary")), made.names)
    assert found[0].published.metric == "asr_3" and found[0].verdict == "no scores"


NUMBER = next(each for each in read_records(PAPER, Published) if each.metric == "asr_3")


def compared(value: float, ours: Estimate, single: Estimate | None = None) -> PaperComparison:
    """A published ASR beside ours."""
    return PaperComparison(replace(NUMBER, value=value, n=1320), Run("demo", "base"), ours, single or ours)


def test_the_prediction_interval_holds_the_error_of_both_sides():
    """Two shares of 1,320 prompts with the same truth: a number in our interval alone is a test at 83 %."""
    rng, inside, predicted = np.random.default_rng(0), [], []
    for paper, ours in rng.binomial(1320, 0.3, (500, 2)) / 1320:
        each = compared(paper, Estimate(ours, *wilson(ours, 1320, 1.96), 1320))
        inside.append(each.ours.low <= paper <= each.ours.high)
        predicted.append(each.verdict == "inside")
    assert 0.78 < np.mean(inside) < 0.88 and 0.92 < np.mean(predicted) < 0.98


def test_the_scatter_of_trainings_widens_the_prediction():
    """Both limits by hand: three trainings that scatter by 4 points, of which the paper has one."""
    ours = Estimate(0.4, 0.35, 0.45, 3960, 3, 0.04)
    alone = Estimate(0.38, 0.354, 0.407, 1320)
    low, high = compared(0.45, ours, alone).prediction
    paper_low, paper_high = wilson(0.45, 1320, 1.959964)
    spread = scipy_stats.t.ppf(0.975, 2) * 0.04
    assert low == pytest.approx(0.4 - np.sqrt((paper_high - 0.45) ** 2 + 0.05**2 + spread**2), abs=1e-6)
    assert high == pytest.approx(0.4 + np.sqrt((0.45 - paper_low) ** 2 + 0.05**2 + spread**2), abs=1e-6)


def test_the_papers_error_of_a_mean_is_that_of_one_of_our_trainings():
    number = next(each for each in read_records(PAPER, Published) if each.metric == "sbert")
    ours, single = Estimate(0.86, 0.85, 0.87, 300, 3, math.nan), Estimate(0.86, 0.84, 0.88, 400)
    low, high = PaperComparison(number, Run("demo", "base"), ours, single).prediction
    assert high - 0.86 == pytest.approx(0.86 - low) == pytest.approx(math.hypot(0.02 * 2, 0.01))
