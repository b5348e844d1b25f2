"""Paired comparisons of values given prompt by prompt."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from formsafe.analysis.comparisons import COLUMNS, compare
from formsafe.analysis.roster import names_from
from formsafe.analysis.score_table import COLUMNS as SCORE_COLUMNS
from formsafe.analysis.score_table import HARMFUL, Scores
from formsafe.analysis.statistics import detectable_difference
from formsafe.analysis.summary import summary_rows
from formsafe.config.grid import Run
from formsafe.config.settings.analysis import AnalysisSettings
from tests import synthetic

SETTINGS = AnalysisSettings(bootstrap_draws=50)
BASE = Run("demo", "base")


def sft(seed: int, format: str = "json") -> Run:
    """A fine-tuned run."""
    return Run("demo", "sft", format, "5e-5", str(seed))


def promot(seed: int, format: str = "json") -> Run:
    """A run whose soft prompt is dropped."""
    return Run("demo", "promot", format, "5e-5", str(seed))


def scores_of(given: dict[Run, list]) -> Scores:
    """Judge scores by run, a prompt each; None: unscored, "": never answered."""
    rows = [
        (run, HARMFUL, "", f"p{number:04}", "score", value)
        for run, values in given.items()
        for number, value in enumerate(values)
        if value != ""
    ]
    return Scores(pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype({"value": float}))


def rows_of(given: dict[Run, list], methods=None, metric: str = "asr") -> list[dict]:
    """The comparisons of one metric."""
    names = names_from({}, methods or synthetic.methods(), [run.fields for run in given])
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in compare(scores_of(given), list(given), names, 3, SETTINGS)]
    return [row for row in rows if row["metric"] == metric]


def answers(rng, shares) -> list[int]:
    """Scores of 5 with each prompt's own probability, else 1."""
    return [int(score) for score in np.where(rng.random(len(shares)) < shares, 5, 1)]


@pytest.mark.parametrize("seeds", [2, 3])
def test_several_seeds_are_tested_by_the_means_of_prompts(seeds):
    """A tenth of the answers is harmful on both sides, at other prompts in every seed: most seeds agree on harmless."""
    rng = np.random.default_rng(0)
    base, *tuned = (answers(rng, np.full(1320, 0.1)) for _ in range(seeds + 1))
    (row,) = rows_of({BASE: base} | {sft(seed): values for seed, values in enumerate(tuned)})
    expected = ttest_rel(np.mean(np.array(tuned) >= 3, axis=0), np.array(base) >= 3).pvalue
    assert row["p"] == pytest.approx(expected) and row["p"] > 0.05
    assert (row["only_a"], row["only_b"], row["seeds"]) == ("", "", seeds)


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_rise_is_found_with_several_seeds(seeds):
    rng = np.random.default_rng(1)
    given = {BASE: answers(rng, np.full(300, 0.1))}
    (row,) = rows_of(given | {sft(seed): answers(rng, np.full(300, 0.3)) for seed in range(seeds)})
    assert row["p"] < 0.001 and row["ci_low"] > 0


def test_equal_answers_in_all_seeds_are_no_difference():
    (row,) = rows_of({BASE: [5, 1, 1]} | {sft(seed): [5, 1, 1] for seed in range(2)})
    assert (row["difference"], row["p"], row["only_a"], row["only_b"]) == (0.0, 1.0, "", "")


def test_a_seed_without_any_score_is_left_out():
    given = {BASE: [1] * 8, sft(0): [None] * 8, sft(1): [5, 1] * 4, sft(2): [5] * 4 + [1] * 4}
    (row,), (without,) = rows_of(given), rows_of({run: values for run, values in given.items() if run != sft(0)})
    changed = ("bound_low", "bound_high")
    assert row["seeds"] == 2 and row["p"] < 0.05
    assert {key: row[key] for key in row if key not in changed} == {
        key: without[key] for key in without if key not in changed
    }


def test_seeds_that_differ_are_paired_by_their_means_over_what_is_scored():
    given = {sft(0): [5, 1, 5, 1], sft(1): [None] * 4, promot(2): [1, 1, None, 1], promot(3): [1, 5, None, None]}
    (row,) = rows_of(given)
    assert (row["n"], row["a"], row["b"]) == (3, pytest.approx(1 / 3), pytest.approx(1 / 6))
    assert not np.isnan(row["p"]) and row["only_a"] == ""


def test_the_difference_is_that_of_the_values_shown():
    given = {BASE: [1, 1, 1, 5], sft(0): [5, None, None, None], sft(1): [1, 1, 5, 1]}
    (row,) = rows_of(given)
    assert row["a"] == pytest.approx((0 + 1 / 4) / 2) and row["b"] == pytest.approx((1 + 1 / 4) / 2)
    assert row["difference"] == pytest.approx(row["b"] - row["a"])


def test_bounds_leave_out_prompts_that_were_never_answered():
    given = {BASE: [1, 1, None, 5, 1, 1], sft(0): [5, None, 1, 5, "", ""]}
    (row,) = rows_of(given)
    assert (row["bound_low"], row["bound_high"]) == pytest.approx(((1 + 0 - 1 + 0) / 4, (1 + 1 + 0 + 0) / 4))


def test_bounds_are_those_of_the_summary():
    given = {BASE: [1, 1, None, 5], sft(0): [5, None, 1, 5], sft(1): [None, 5, 5, 5]}
    (row,) = rows_of(given)
    found = {(line[1], line[4], line[7]): line[8] for line in summary_rows(scores_of(given), list(given), 3, SETTINGS)}
    best, worst = (("asr_best", "asr_worst"), ("asr_worst", "asr_best"))
    for bound, (b, a) in (("bound_low", best), ("bound_high", worst)):
        assert row[bound] == pytest.approx(found["sft", "all", b] - found["base", "none", a])


@pytest.mark.parametrize("order", [("base", "sft", "promot"), ("base", "promot", "sft")])
def test_plain_fine_tuning_is_a_whatever_the_order_of_methods(order):
    methods = {name: synthetic.methods()[name] for name in order}
    given = {
        BASE: [1] * 4,
        **{run: [5] * 4 for run in ((promot(0), sft(0)) if order[1] == "promot" else (sft(0), promot(0)))},
    }
    (row,) = (row for row in rows_of(given, methods) if row["family"] == "method")
    assert (row["a_method"], row["b_method"]) == ("sft", "promot")


def test_what_could_be_found_is_a_rise_or_between_methods_a_fall_at_holms_first_step():
    rng = np.random.default_rng(2)
    given = {run: answers(rng, np.full(400, 0.4)) for run in (BASE, sft(0), sft(0, "list"), promot(0))}
    rows = {(row["family"], row["b_method"], row["b_format"]): row for row in rows_of(given)}
    base, method = rows["base", "sft", "json"], rows["method", "promot", "json"]
    assert base["detectable"] == detectable_difference(base["a"], 400, 1 - 0.05 / 3, 0.8)
    assert method["detectable"] == detectable_difference(1 - method["a"], 400, 1 - 0.05, 0.8)


def test_nothing_scored_is_a_row_without_values():
    (row,) = rows_of({BASE: [None] * 3, sft(0): [None] * 3, sft(1): [None] * 3})
    assert row["n"] == row["seeds"] == 0 and all(np.isnan(row[key]) for key in ("a", "b", "difference", "p", "p_holm"))
    assert (row["bound_low"], row["bound_high"]) == (-1.0, 1.0)
