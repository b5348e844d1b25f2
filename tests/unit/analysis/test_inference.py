"""Trainings and prompts as random: variances by hand, errors by simulation, and studies with nothing to estimate."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from formsafe.analysis.crossed import Side, crossed, prompt_variance, trainings_variance
from formsafe.analysis.estimates import wilson
from formsafe.analysis.inference import estimate, omnibus, trend
from formsafe.analysis.statistics import Table, newcombe

NAN, Z = np.nan, 1.959963984540054


def answered(rng, k: int, n: int, base: float, scatter: float = 0.0, hard=None) -> np.ndarray:
    """Answers [k, n] of trainings whose ASR scatters, over prompts of different hardness."""
    chance = base + scatter * rng.standard_normal((k, 1)) + (0 if hard is None else hard)
    return (rng.random((k, n)) < chance).astype(float)


def test_the_variance_of_a_contrast_by_hand():
    """Sums of squares of the two-way table, written out; values without noise of their own first."""
    a, b = np.array([[0.0, 1, 1, 0], [1, 1, 1, 0], [0, 1, 0, 0]]), np.array([[1.0, 1, 0, 1], [1, 1, 1, 1]])
    spread = crossed([Side(a, -1.0), Side(b)])
    contrast = b.mean(axis=0) - a.mean(axis=0)
    scatter = residual = scale = 0.0
    for values in (a, b):
        k, n = values.shape
        grand = values.mean()
        error = sum(
            (values[s, p] - values[s].mean() - values[:, p].mean() + grand) ** 2 for s in range(k) for p in range(n)
        ) / ((k - 1) * (n - 1))
        scatter += np.var(values.mean(axis=1), ddof=1) / k
        residual += error / (k * n)
        scale += (np.var(values.mean(axis=1), ddof=1) / k) ** 2 / (k - 1)
    prompts = np.var(contrast, ddof=1) / 4
    variance = prompts + max(0, scatter - residual)
    assert float(spread.value) == pytest.approx(b.mean() - a.mean())
    assert float(spread.variance) == pytest.approx(variance)
    assert float(spread.freedom) == pytest.approx(variance**2 / (prompts**2 / 3 + scale))


def test_many_studies_at_once_are_each_by_itself():
    rng = np.random.default_rng(13)
    a, b = rng.random((2, 4, 3, 20))
    clusters = np.repeat(np.arange(10), 2)
    for one in (a, a[:, :1]):
        together = crossed([Side(one, -1.0), Side(b)], clusters)
        for number in range(4):
            alone = crossed([Side(one[number], -1.0), Side(b[number])], clusters)
            for name in ("value", "variance", "freedom", "design_effect"):
                assert float(getattr(together, name)[number]) == pytest.approx(float(getattr(alone, name))), name


def test_one_training_borrows_the_scatter_of_the_others_by_hand():
    """Also where answers are unknown: what they would add to the residual is nothing."""
    a, b = np.array([[1.0, 0, 1, 0]]), np.array([[0.0, 1, 1, 0], [1, 1, NAN, 1], [0, 1, 0, 0]])
    means, prompts = np.nanmean(b, axis=1), np.nanmean(b, axis=0)
    fitted = means[:, None] + prompts[None] - means.mean()
    residual = np.nansum((b - fitted) ** 2) / (11 - 3 - 4 + 1) / 4
    scatter = np.var(means, ddof=1)
    between, within = np.array([scatter, scatter / 3]), np.array([residual, residual / 3])
    over = (prompts - a[0]) - (prompts - a[0]).mean()
    over = (over**2).sum() / 12
    variance = over + max(0, between.sum() - within.sum())
    spread = crossed([Side(a, -1.0), Side(b)])
    assert float(spread.variance) == pytest.approx(variance)
    below = over**2 / 3 + between[0] ** 2 / 2 + between[1] ** 2 / 2
    assert float(spread.freedom) == pytest.approx(max(1, variance**2 / below))


def test_two_trainings_of_two_prompts_leave_one_degree_of_freedom():
    values = np.array([[1.0, 0], [1, 1]])
    _, residual, _ = trainings_variance([Side(values)])
    assert float(residual) == pytest.approx(4 * 0.25**2 / 1 / 2 / 2)


def test_degrees_of_freedom_are_at_least_one_and_without_any_spread_infinite():
    a, b = np.array([[1.0, 0, 0], [0, 0, 1]]), np.array([[0.0, 0, 0], [1, 1, 1]])
    assert float(crossed([Side(a, -1.0), Side(b)]).freedom) == 1.0  # Satterthwaite's are 0.6
    assert np.isinf(crossed([Side(np.ones((1, 4)))]).freedom)
    sparse = crossed([Side(np.array([[1.0, 0], [NAN, 1]]))])
    assert np.isfinite(sparse.variance) and float(sparse.variance) > 0


def test_the_variance_of_clusters_by_hand():
    deviations = np.array([2.0, 1, -1, 0, -3, 1])
    variance, groups, effect = prompt_variance(deviations, np.array([7, 7, 4, 4, 9, 9]))
    totals = np.array([3.0, -1, -2])
    clustered, plain = (totals**2).sum() * 3 / (6**2 * 2), (deviations**2).sum() / (6 * 5)
    assert groups == 3 and float(effect) == pytest.approx(clustered / plain) and effect > 1
    assert float(variance) == pytest.approx(clustered)
    two = prompt_variance(deviations, np.array([1, 1, 2, 2, 2, 1]))
    assert float(two[2]) == pytest.approx((4.0**2 + 4.0**2) * 2 / 6**2 / plain)
    still = prompt_variance(np.zeros(6), np.array([7, 7, 4, 4, 9, 9]))
    assert (float(still[0]), float(still[2])) == (0.0, 1.0)
    assert float(prompt_variance(np.array([1.0, -1.0]), None)[0]) == 1.0  # the square of a standard error: 2 / 2
    alike = prompt_variance(deviations, np.zeros(6, dtype=int))
    assert (alike[1], float(alike[2]), float(alike[0])) == (1, 1.0, pytest.approx(plain))


def test_trainings_that_scatter_widen_the_interval_of_a_condition():
    prompts = np.linspace(-0.1, 0.1, 100)
    values = np.array([[0.2], [0.5], [0.8]]) + prompts
    found = estimate([Side(values)], 0.95, share=False)
    reach = scipy_stats.t.ppf(0.975, 2) * np.sqrt(np.var([0.2, 0.5, 0.8], ddof=1) / 3)
    assert found.high - found.value == pytest.approx(reach, rel=0.01) and found.value == pytest.approx(0.5)


def test_a_model_without_training_adds_no_scatter():
    rng = np.random.default_rng(0)
    base, tuned = answered(rng, 1, 200, 0.1), answered(rng, 4, 200, 0.4, 0.1)
    fixed = crossed([Side(base, -1.0, fixed=True), Side(tuned)])
    borrowed = crossed([Side(base, -1.0), Side(tuned)])
    assert float(borrowed.variance) > float(fixed.variance)


def test_one_training_is_newcombes_interval_and_the_exact_mcnemar_test():
    a, b = np.r_[np.ones(8), np.zeros(32)], np.r_[np.zeros(6), np.ones(22), np.zeros(12)]
    found = estimate([Side(a[None], -1.0, fixed=True), Side(b[None])], 0.95)
    table = Table(2, 6, 20, 12)
    assert found.table == table and found.test == "exact McNemar" and (found.prompts, found.trainings) == (40, 1)
    assert (found.low, found.high) == pytest.approx(newcombe(table, Z)) and found.value == pytest.approx(14 / 40)
    assert found.p == pytest.approx(scipy_stats.binomtest(6, 26).pvalue)


def test_one_training_of_means_is_the_paired_t_test():
    a, b = np.random.default_rng(1).random((2, 30))
    found = estimate([Side(a[None], -1.0), Side(b[None])], 0.95, share=False)
    expected = scipy_stats.ttest_rel(b, a)
    interval = expected.confidence_interval(0.95)
    assert (found.value, found.p) == pytest.approx(((b - a).mean(), expected.pvalue))
    assert found.test == "t over prompts"
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("base", [0.2, 0.5])
def test_equal_conditions_are_seldom_called_different(base):
    """Type I error at five trainings that scatter by 5 points; a paired t-test over prompts is wrong in over 15 %."""
    rng, hard = np.random.default_rng(2), np.random.default_rng(3).normal(0, 0.1, 128)
    values = [np.stack([answered(rng, 5, 128, base, 0.05, hard) for _ in range(1500)]) for _ in range(2)]
    spread = crossed([Side(values[0], -1.0), Side(values[1])])
    p = 2 * scipy_stats.t.sf(np.abs(spread.value) / np.sqrt(spread.variance), spread.freedom)
    assert 0.02 < np.mean(p < 0.05) < 0.065
    over_prompts = scipy_stats.ttest_rel(values[1].mean(axis=1), values[0].mean(axis=1), axis=1).pvalue
    assert np.mean(over_prompts < 0.05) > 0.15


def test_equal_formats_are_seldom_called_different_by_the_omnibus_test_and_a_range_is_found():
    rng, hard = np.random.default_rng(4), np.random.default_rng(5).normal(0, 0.1, 128)
    p = [omnibus([Side(answered(rng, 5, 128, 0.4, 0.05, hard)) for _ in range(3)]).p for _ in range(600)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.075
    found = omnibus([Side(answered(rng, 5, 128, asr, 0.02, hard)) for asr in (0.3, 0.4, 0.5)])
    assert found.p < 0.001 and found.value == pytest.approx(0.2, abs=0.06) and found.test.startswith("F over trainings")


def test_the_omnibus_test_of_two_conditions_is_the_t_test():
    rng = np.random.default_rng(6)
    a, b = answered(rng, 4, 60, 0.4, 0.05), answered(rng, 4, 60, 0.5, 0.05)
    pair, both = estimate([Side(a, -1.0), Side(b)], 0.95), omnibus([Side(a), Side(b)])
    assert both.p == pytest.approx(pair.p, rel=1e-6) and both.value == pytest.approx(abs(pair.value))


@pytest.mark.parametrize("prompts", [1, 2, 3])
def test_with_few_prompts_the_omnibus_test_of_two_conditions_is_the_t_test_too(prompts):
    rng = np.random.default_rng(prompts)
    a, b = rng.random((4, prompts)), rng.random((4, prompts)) + 0.3
    pair, both = estimate([Side(a, -1.0), Side(b)], 0.95, share=False), omnibus([Side(a), Side(b)], share=False)
    assert both.p == pytest.approx(pair.p, rel=1e-6) and pair.test == "t over trainings and prompts"


def test_a_share_of_near_duplicates_is_worth_its_independent_prompts():
    values = np.random.default_rng(12).integers(0, 2, (1, 60)).astype(float)
    once = estimate([Side(values)], 0.95)
    twice = estimate([Side(np.repeat(values, 2, axis=1))], 0.95, clusters=np.repeat(np.arange(60), 2))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=2e-3)


def test_unknown_answers_weigh_on_their_own_training_alone():
    holes = np.array([[1.0, NAN, 0, 0], [1, 1, 0, 0]])
    found = omnibus([Side(holes), Side(np.zeros((2, 4)))], share=False)
    assert found.value == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_one_training_each_is_cochrans_q_and_its_linear_part():
    values = np.random.default_rng(7).integers(0, 2, (3, 50)).astype(float)
    sides = [Side(row[None], weight) for row, weight in zip(values, (-0.5, 0.0, 0.5), strict=True)]
    assert omnibus(sides).test == "Cochran's Q"
    found = trend(sides, 0.95)
    within = values.var(axis=0, ddof=1).sum() * 0.5
    assert found.p == pytest.approx(
        2 * scipy_stats.norm.sf(abs(values[2].sum() - values[0].sum()) / 2 / np.sqrt(within))
    )
    assert found.value == pytest.approx((values[2].mean() - values[0].mean()) / 2)
    rising = trend([Side(np.r_[np.ones(k), np.zeros(50 - k)][None], w) for k, w in ((5, -1), (15, 0), (30, 1))], 0.95)
    assert rising.value == 0.5 and rising.p < 0.001 and rising.low > 0


def test_near_duplicates_are_one_cluster():
    """Each prompt twice: as many independent prompts as without the copies."""
    rng = np.random.default_rng(8)
    a, b = answered(rng, 3, 80, 0.3, 0.05), answered(rng, 3, 80, 0.5, 0.05)
    once = estimate([Side(a, -1.0), Side(b)], 0.95)
    twice = [Side(np.repeat(values, 2, axis=1), weight) for values, weight in ((a, -1.0), (b, 1.0))]
    clustered, plain = estimate(twice, 0.95, clusters=np.repeat(np.arange(80), 2)), estimate(twice, 0.95)
    assert clustered.error > plain.error
    assert clustered.error == pytest.approx(once.error, rel=0.1)
    single = [Side(side.values[:1], side.weight) for side in twice]
    assert estimate(single, 0.95, clusters=np.repeat(np.arange(80), 2)).p > estimate(single, 0.95).p


def test_a_trend_over_near_duplicates_is_worth_its_independent_prompts():
    values = np.random.default_rng(10).integers(0, 2, (3, 60)).astype(float)
    values[2] = np.maximum(values[2], values[0])
    once = trend([Side(row[None], weight) for row, weight in zip(values, (-0.5, 0.0, 0.5), strict=True)], 0.95)
    sides = [Side(np.repeat(row, 2)[None], weight) for row, weight in zip(values, (-0.5, 0.0, 0.5), strict=True)]
    clustered = trend(sides, 0.95, clusters=np.repeat(np.arange(60), 2))
    assert clustered.p == pytest.approx(once.p, rel=0.1) and trend(sides, 0.95).p < once.p / 2


def test_answers_without_a_score_on_one_side_are_no_pairs():
    a = np.array([1.0, 0, 0, 0, 1, NAN, 1, 0])
    b = np.array([1.0, 1, 1, 0, 1, 1, NAN, 1])
    found = estimate([Side(a[None], -1.0), Side(b[None])], 0.95)
    assert found.table == Table(2, 0, 3, 1) and found.prompts == 6 and found.value == pytest.approx(0.5)
    one = estimate([Side(np.array([[1.0, 0, 0, NAN]]))], 0.95)
    assert one.value == pytest.approx(1 / 3) and (one.low, one.high) == pytest.approx(wilson(1 / 3, 3, Z))


def test_where_all_are_alike_the_first_trainings_known_pairs_count():
    a, b = np.array([[0, 0, NAN], [0, 0, 0]]), np.array([[0, NAN, 0], [0, 0, 0]])
    assert estimate([Side(a, -1.0), Side(b)], 0.95).table == Table(0, 0, 0, 1)


def test_models_without_training_are_one_training():
    a, b = np.random.default_rng(14).integers(0, 2, (2, 1, 30)).astype(float)
    assert estimate([Side(a, -1.0, fixed=True), Side(b, fixed=True)], 0.95).trainings == 1


def test_a_share_over_trainings_is_wilsons_at_the_number_of_answers_that_its_variance_is_worth():
    values = answered(np.random.default_rng(11), 4, 50, 0.2, 0.1)
    found, spread = estimate([Side(values)], 0.95), crossed([Side(values)])
    critical = float(scipy_stats.t.ppf(0.975, float(spread.freedom)))
    share, variance = values.mean(), float(spread.variance)
    expected = wilson(share, share * (1 - share) / variance, critical)
    assert (found.low, found.high) == pytest.approx(expected) and found.low > 0
    assert found.low != pytest.approx(found.value - critical * found.error, abs=1e-4)


def test_the_omnibus_tests_numbers_by_hand():
    """Two trainings each of three conditions; the range is that of the conditions' means."""
    values = [
        np.array(rows, dtype=float) for rows in ([[1, 0, 0, 0]] * 2, [[1, 1, 0, 0], [1, 0, 0, 0]], [[1, 1, 1, 0]] * 2)
    ]
    found = omnibus([Side(each) for each in values])
    assert found.value == pytest.approx(0.75 - 0.25) and (found.prompts, found.trainings) == (4, 2)
    holes = [np.array([[1, 0, NAN, 0]]), np.array([[1, 1, 0, 0]])]
    single = omnibus([Side(each) for each in holes], share=False)
    assert single.value == pytest.approx(2 / 3 - 1 / 3) and single.prompts == 3


def test_what_cannot_be_estimated_is_unknown():
    nothing = estimate([Side(np.full((2, 5), NAN), -1.0), Side(np.ones((2, 5)))], 0.95)
    assert np.isnan([nothing.value, nothing.low, nothing.p]).all() and (nothing.prompts, nothing.trainings) == (0, 0)
    apart = estimate([Side(np.array([[1.0, NAN]]), -1.0), Side(np.array([[NAN, 1.0]]))], 0.95)
    assert apart.prompts == 0 and np.isnan(apart.p)
    assert np.isnan(omnibus([Side(np.ones((1, 4)))]).p) and np.isnan(trend([Side(np.full((1, 3), NAN))] * 2, 0.95).p)


def test_answers_that_are_all_alike_are_not_certain():
    same = estimate([Side(np.zeros((3, 40)), -1.0), Side(np.zeros((3, 40)))], 0.95)
    assert (same.value, same.p) == (0.0, 1.0) and same.low < 0 < same.high and same.trainings == 3
    share = estimate([Side(np.ones((3, 40)))], 0.95)
    assert share.value == share.high == 1.0 and 0.9 < share.low < 1
    means = estimate([Side(np.full((1, 9), 0.5), -1.0), Side(np.full((1, 9), 0.5))], 0.95, share=False)
    assert means.p == 1.0 and np.isnan(means.low)
    assert omnibus([Side(np.zeros((2, 9)))] * 3).p == 1.0


def test_a_training_without_scores_is_left_out_and_unknown_answers_are_not_counted():
    rng = np.random.default_rng(9)
    a, b = answered(rng, 3, 60, 0.3, 0.05), answered(rng, 3, 60, 0.5, 0.05)
    with_empty = np.vstack([b, np.full((1, 60), NAN)])
    assert estimate([Side(a, -1.0), Side(with_empty)], 0.95) == estimate([Side(a, -1.0), Side(b)], 0.95)
    holes = b.copy()
    holes[0, :5] = NAN
    found = estimate([Side(a, -1.0), Side(holes)], 0.95)
    expected = np.mean([holes[0, 5:].mean(), holes[1].mean(), holes[2].mean()]) - a.mean()
    assert found.value == pytest.approx(expected) and found.prompts == 60 and np.isfinite(found.error)


def test_the_interval_of_a_share_stays_where_a_share_can_be():
    values = np.repeat([[0.0], [1.0]], 40, axis=1)
    found = estimate([Side(values)], 0.95)
    assert found.value == 0.5 and 0 <= found.low < 0.05 and 0.95 < found.high <= 1
    fall = estimate([Side(np.ones((2, 40)), -1.0), Side(values)], 0.95)
    assert (fall.value, fall.low) == (-0.5, -1.0) and fall.high <= 1
