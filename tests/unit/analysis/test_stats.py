"""Intervals and tests against SciPy, statsmodels' documentation values and arithmetic by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from formsafe.analysis.statistics import (
    bootstrap_groups,
    detectable_difference,
    holm,
    kappa,
    known_mean,
    mcnemar_test,
    mean_test,
    resampled_means,
    seed_weights,
    wilson,
)

NAN = np.nan


def shares(ones: int, n: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [ones, n - ones])


def test_wilson_of_the_papers_base_asr():
    found = wilson(shares(79, 1320), 0.95)
    interval = scipy_stats.binomtest(79, 1320).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.value == pytest.approx(79 / 1320) and found.n == 1320


def test_wilson_stays_between_0_and_1_and_is_open_at_the_edges():
    none, all_ = wilson(shares(0, 20), 0.95), wilson(shares(20, 20), 0.95)
    assert none.low == 0.0 < none.high < 0.2
    assert all_.high == 1.0 > all_.low > 0.8


def test_wilson_leaves_out_unknown_outcomes():
    assert wilson(np.array([1.0, NAN, 0.0]), 0.95).n == 2
    assert np.isnan(wilson(np.array([NAN]), 0.95).value)
    assert wilson(np.array([]), 0.95).n == 0


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(1).gamma(2.0, size=200)
    (ours,) = bootstrap_groups([values[None, :]], 0.95, 20_000, 0)
    theirs = scipy_stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0)
    spread = ours.high - ours.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * spread)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * spread)
    assert ours.value == values.mean()


def test_bootstrap_pairs_groups_by_prompt():
    """Two groups that differ by a constant differ by it in every draw."""
    values = np.random.default_rng(2).normal(size=50)
    means = resampled_means(np.stack([values, values + 0.25]).T, 500, 0)
    assert means[:, 1] - means[:, 0] == pytest.approx(np.full(500, 0.25))


def test_bootstrap_is_the_same_each_time_and_whatever_the_chunks(monkeypatch):
    columns = np.random.default_rng(3).normal(size=(30, 2))
    first = resampled_means(columns, 250, 7)
    assert (first == resampled_means(columns, 250, 7)).all()
    assert (first != resampled_means(columns, 250, 8)).any()
    monkeypatch.setattr("formsafe.analysis.statistics.CHUNK", 100)
    assert resampled_means(columns, 250, 7) == pytest.approx(first)


def test_bootstrap_leaves_out_unknown_values_column_by_column():
    columns = np.array([[1.0, NAN], [1.0, 5.0], [1.0, NAN]])
    means = resampled_means(columns, 400, 0)
    assert (means[:, 0] == 1.0).all()
    assert set(means[~np.isnan(means[:, 1]), 1]) == {5.0}
    (unknown,) = bootstrap_groups([np.full((1, 3), NAN)], 0.95, 100, 0)
    assert np.isnan([unknown.value, unknown.low, unknown.high]).all() and unknown.n == 0


def test_seeds_widen_the_interval():
    """Seeds far apart: an interval over prompts alone would be far too sure."""
    prompts = np.random.default_rng(4).normal(size=400)
    seeds = np.stack([prompts, prompts + 1, prompts + 2])
    one, three = bootstrap_groups([seeds[1:2], seeds], 0.95, 4000, 0)
    assert three.value == pytest.approx(one.value)
    assert three.high - three.low > 5 * (one.high - one.low)


def test_a_seed_without_scores_does_not_hide_the_others():
    scored = np.random.default_rng(6).integers(0, 2, 40).astype(float)
    (both,) = bootstrap_groups([np.stack([scored, np.full(40, NAN)])], 0.95, 500, 0)
    (alone,) = bootstrap_groups([scored[None, :]], 0.95, 500, 0)
    assert both == alone


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_means_over_drawn_seeds_vary_as_the_mean_of_seeds_does(seeds):
    """Unbiased: the variance of the seeds (with k - 1) over k."""
    means = np.random.default_rng(7).normal(size=seeds)
    weights = seed_weights(seeds, 40_000, 0)
    assert weights.sum(axis=1) == pytest.approx(np.ones(40_000))
    assert (weights @ means).var() == pytest.approx(means.var(ddof=1) / seeds, rel=0.03)


def test_an_interval_stays_where_a_mean_can_lie():
    seeds = np.repeat([[0.0], [1.0]], 40, axis=1)
    (found,) = bootstrap_groups([seeds], 0.95, 500, 0)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_equal_risks_are_seldom_called_different(seeds):
    """Each prompt has its own risk, equal on both sides; `seeds` answers to it on one side, one on the other."""
    rng, p_values = np.random.default_rng(0), []
    for _ in range(400):
        risks = rng.beta(0.3, 2.7, size=660)
        base, tuned = rng.random(660) < risks, (rng.random((seeds, 660)) < risks).mean(axis=0)
        p_values.append(mean_test(tuned - base))
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.08


def test_means_are_tested_as_scipy_does():
    first, second = np.random.default_rng(8).random((2, 40))
    assert mean_test(np.r_[first - second, NAN]) == pytest.approx(scipy_stats.ttest_rel(first, second).pvalue)


def test_differences_that_are_all_the_same():
    assert mean_test(np.zeros(5)) == 1.0
    assert mean_test(np.full(5, 1 / 3)) == pytest.approx(scipy_stats.binomtest(5, 5).pvalue)
    assert mean_test(np.array([0.5])) == 1.0
    assert np.isnan(mean_test(np.array([NAN])))


def test_known_means():
    found = known_mean(np.array([[1.0, NAN, NAN], [0.0, 4.0, NAN]]), axis=0)
    assert found[:2] == pytest.approx([0.5, 4.0]) and np.isnan(found[2])


def test_mcnemar_counts_and_p():
    first, second = shares(10, 20), np.r_[np.zeros(8), np.ones(4), np.zeros(8)]
    only_first, only_second, p = mcnemar_test(first, second)
    assert (only_first, only_second) == (8, 2)
    assert p == pytest.approx(scipy_stats.binomtest(2, 10).pvalue)


def test_mcnemar_without_disagreement_or_pairs():
    assert mcnemar_test(np.ones(5), np.ones(5)) == (0, 0, 1.0)
    assert np.isnan(mcnemar_test(np.array([]), np.array([]))[2])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = holm([0.01, NAN, 0.04])
    assert adjusted[0] == pytest.approx(0.02) and np.isnan(adjusted[1])
    assert holm([]) == []


def test_kappa_by_hand():
    first, second = shares(25, 50), np.r_[np.ones(20), np.zeros(5), np.ones(10), np.zeros(15)]
    assert kappa(first, second, 0.95).value == pytest.approx(0.4)  # 35 of 50 agree, 25 by chance


def test_kappa_says_nothing_where_a_rater_always_says_the_same():
    assert np.isnan(kappa(np.ones(5), shares(2, 5), 0.95).value)
    assert np.isnan(kappa(np.array([]), np.array([]), 0.95).value)


def test_detectable_difference_has_the_power_it_claims():
    rise = detectable_difference(0.06, 1320, 0.95, 0.8)
    rng = np.random.default_rng(5)
    low, high = rng.binomial(1320, 0.06, 4000), rng.binomial(1320, 0.06 + rise, 4000)
    pooled = (low + high) / 2640
    z = (high - low) / 1320 / np.sqrt(pooled * (1 - pooled) * 2 / 1320)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.03)


def test_detectable_difference_where_there_is_none():
    assert np.isnan(detectable_difference(NAN, 100, 0.95, 0.8))
    assert np.isnan(detectable_difference(0.5, 0, 0.95, 0.8))
    assert np.isnan(detectable_difference(0.99, 4, 0.95, 0.8))


def test_a_detectable_difference_is_found_by_mcnemars_test_at_holms_first_step():
    """Independent answers on both sides, ten comparisons: pairing by prompt would only find more."""
    level = 0.05 / 10
    rise, rng = detectable_difference(0.2, 660, 1 - level, 0.8), np.random.default_rng(9)
    pairs = ((rng.random(660) < 0.2, rng.random(660) < 0.2 + rise) for _ in range(400))
    assert np.mean([mcnemar_test(a, b)[2] < level for a, b in pairs]) > 0.7
