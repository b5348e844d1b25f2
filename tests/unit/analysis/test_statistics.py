"""Intervals and tests of one training against SciPy, statsmodels, published examples and arithmetic by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests

from formsafe.analysis.estimates import wilson
from formsafe.analysis.statistics import (
    Table,
    cochran_q,
    detectable_difference,
    holm,
    kappa,
    known_mean,
    mcnemar,
    mcnemar_power,
    newcombe,
)

NAN, Z = np.nan, 1.959963984540054
# The last ones: a covariance of 1, a share of 0, and a covariance of -0.5, as a design effect makes it.
TABLES = [
    *(Table(40, 2, 8, 50), Table(20, 10, 28, 42), Table(5, 30, 4, 61), Table(9, 8, 7, 6)),
    *(Table(1, 1, 1, 2), Table(0, 0, 8, 32), Table(1.5, 1.0, 2.0, 1.0)),
]


def shares(ones: int, n: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [ones, n - ones])


def test_wilson_of_the_papers_base_asr():
    interval = scipy_stats.binomtest(79, 1320).proportion_ci(0.95, method="wilson")
    assert wilson(79 / 1320, 1320, Z) == pytest.approx((interval.low, interval.high))


def test_wilson_stays_between_0_and_1_and_is_open_at_the_edges():
    none, all_ = wilson(0.0, 20, Z), wilson(1.0, 20, Z)
    assert none[0] == 0.0 < none[1] < 0.2 and all_[1] == 1.0 > all_[0] > 0.8


def test_newcombes_interval_of_a_published_example():
    """Airway hyper-responsiveness before and after a transplantation: Fagerland, Lydersen and Laake (2014)."""
    assert newcombe(Table(1, 1, 7, 12), Z) == pytest.approx((0.0256, 0.5069), abs=5e-5)
    low, high = newcombe(Table(1, 7, 1, 12), Z)
    assert (low, high) == pytest.approx((-0.5069, -0.0256), abs=5e-5)


def test_newcombes_interval_is_narrower_where_the_pairs_agree():
    """The same shares, 0.42 and 0.48, of pairs that are alike, that are unrelated, and that are opposite."""
    widths = []
    for table in (Table(40, 2, 8, 50), Table(20, 22, 28, 30), Table(0, 42, 48, 10)):
        low, high = newcombe(table, Z)
        widths.append(high - low)
    assert widths[0] < 0.7 * widths[1] < widths[1] < 0.9 * widths[2]


@pytest.mark.parametrize("table", TABLES)
def test_newcombes_interval_by_its_formula(table):
    """Newcombe (1998), method 10, written out from the paper."""
    n = sum(table)
    ones = [table.both + table.only_a, table.both + table.only_b]
    a, b = ones[0] / n, ones[1] / n
    (a_low, a_high), (b_low, b_high) = wilson(a, n, Z), wilson(b, n, Z)
    covariance = table.both * table.none - table.only_a * table.only_b
    if covariance > 0:
        covariance = max(covariance - n / 2, 0)
    product = ones[0] * (n - ones[0]) * ones[1] * (n - ones[1])
    phi = covariance / product**0.5 if product else 0.0
    down, up = (b - b_low, a_high - a), (b_high - b, a - a_low)
    low = b - a - (down[0] ** 2 - 2 * phi * down[0] * down[1] + down[1] ** 2) ** 0.5
    high = b - a + (up[0] ** 2 - 2 * phi * up[0] * up[1] + up[1] ** 2) ** 0.5
    assert newcombe(table, Z) == pytest.approx((low, high))


def test_newcombes_interval_is_never_a_point():
    for table in (Table(0, 0, 0, 40), Table(40, 0, 0, 0), Table(0, 0, 40, 0), Table(0, 40, 0, 0)):
        low, high = newcombe(table, Z)
        assert -1 <= low < high <= 1, table


@pytest.mark.parametrize(("against", "rise", "n"), [(0.0, 0.03, 128), (0.05, 0.05, 128), (0.1, 0.0, 300)])
def test_newcombes_interval_covers_the_truth(against, rise, n):
    """At base 0 and a rise of 0.03 the percentiles of a bootstrap cover in 90 % of cases only."""
    cells = np.array([0.2 * (against > 0), against, against + rise])
    tables = np.random.default_rng(0).multinomial(n, [*cells, 1 - cells.sum()], size=2000)
    limits = [newcombe(Table(*map(float, table)), Z) for table in tables]
    assert 0.94 < np.mean([low <= rise <= high for low, high in limits]) <= 1


def test_a_table_is_counted_with_its_sides():
    table = Table.of(np.array([1.0, 1, 0, 0, 1]), np.array([1.0, 0, 1, 0, 0]))
    assert table == (1, 2, 1, 1) and table.divided(2) == (0.5, 1, 0.5, 0.5)


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs():
    assert mcnemar(Table(5, 8, 2, 5)) == pytest.approx(scipy_stats.binomtest(2, 10).pvalue)
    assert mcnemar(Table(5, 0, 0, 5)) == 1.0


def test_power_of_mcnemar_by_hand():
    """Two prompts at level 1: nothing but two discordant pairs on one side has p = 0.5."""
    assert mcnemar_power(1.0, 0.0, 6, 0.05) == pytest.approx(1.0)
    assert mcnemar_power(1.0, 0.0, 5, 0.05) == 0.0  # the smallest p of five pairs is 1/16
    assert mcnemar_power(0.5, 0.0, 6, 0.05) == pytest.approx(0.5**6)
    assert mcnemar_power(1.0, 0.0, 6, 2 * 0.5**6) == 0.0  # p is not below its own value
    assert mcnemar_power(1.0, 0.0, 6, 2 * 0.5**6 + 1e-9) == pytest.approx(1.0)
    # Seven discordant pairs reject where all (chance 0.75^7) or none of them move up.
    assert mcnemar_power(0.5, 0.25, 7, 0.05) == pytest.approx(0.75**7 + 0.25**7)


@pytest.mark.parametrize("n", [128, 1320])
@pytest.mark.parametrize("base", [0.0, 0.06, 0.5])
@pytest.mark.parametrize("together", [1, 10])
def test_the_detectable_difference_has_the_power_it_claims(n, base, together):
    """Stated power within 2 points at Holm's first level, the answers on both sides independent given nothing."""
    level, against = 0.05 / together, base * 0.3
    rise = detectable_difference(against, 1 - base - against, n, level, 0.8)
    rng = np.random.default_rng(1)
    counts = rng.multinomial(n, [against, against + rise, 1 - 2 * against - rise], size=20_000)[:, :2]
    discordant = counts.sum(axis=1)
    p = np.minimum(1, 2 * scipy_stats.binom.cdf(counts.min(axis=1), discordant, 0.5))
    assert np.mean(p < level) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("difference", "against", "n", "level"), [(0.3, 0.1, 30, 0.05), (0.2, 0.0, 40, 0.01)])
def test_power_of_mcnemar_is_the_chance_of_every_table_that_the_test_rejects(difference, against, n, level):
    chances = [against, difference + against, 1 - difference - 2 * against]
    power = 0.0
    for down in range(n + 1):
        for up in range(n + 1 - down):
            rejected = down + up > 0 and scipy_stats.binomtest(up, down + up).pvalue < level
            power += rejected * scipy_stats.multinomial.pmf([down, up, n - down - up], n, chances)
    assert mcnemar_power(difference, against, n, level) == pytest.approx(power)


def test_power_of_mcnemar_with_many_pairs():
    """Every answer differs, 55 % of them one way: the chance of all counts that the exact test rejects."""
    n = np.arange(1001)
    rejected = [scipy_stats.binomtest(int(up), 1000).pvalue < 0.05 for up in n]
    assert mcnemar_power(0.1, 0.45, 1000, 0.05) == pytest.approx(scipy_stats.binom.pmf(n, 1000, 0.55)[rejected].sum())


def test_detectable_difference_where_there_is_none():
    assert np.isnan(detectable_difference(NAN, 0.5, 100, 0.05, 0.8))
    assert np.isnan(detectable_difference(0.1, 0.5, 0, 0.05, 0.8))
    assert np.isnan(detectable_difference(0.0, 0.9, 4, 0.05, 0.8))
    assert np.isnan(detectable_difference(0.1, 0.0, 100, 0.05, 0.8))
    # 0.45 moves the other way: no more than 0.1 is left, of which 100 prompts show nothing and 10,000 do.
    assert np.isnan(detectable_difference(0.45, 0.5, 100, 0.05, 0.8))
    assert 0.01 < detectable_difference(0.45, 0.5, 10_000, 0.05, 0.8) < 0.1
    found = detectable_difference(0.05, 0.9, 200, 0.05, 0.8)
    assert mcnemar_power(found, 0.05, 200, 0.05) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.filterwarnings("error")  # a job's log would show one for every score that is not there
def test_known_means():
    found = known_mean(np.array([[1.0, NAN, NAN], [0.0, 4.0, NAN]]), axis=0)
    assert found[:2] == pytest.approx([0.5, 4.0]) and np.isnan(found[2])


def test_holm_by_hand_and_as_statsmodels():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = holm([0.01, NAN, 0.04])
    assert adjusted[0] == pytest.approx(0.02) and np.isnan(adjusted[1]) and adjusted[2] == pytest.approx(0.04)
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
    values = list(np.random.default_rng(2).random(20) ** 3)
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])


def test_cochrans_q_by_hand():
    """Two of three conditions differ at 4 of 6 prompts: Q = 2 (3 (4^2 + 0 + 0) - 4^2) / (3 * 4 - 4) = 8."""
    values = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=float)
    assert cochran_q(values) == pytest.approx(scipy_stats.chi2.sf(8, 2))
    assert cochran_q(np.ones((3, 5))) == 1.0


def test_kappa_by_hand_with_statsmodels_interval():
    first, second = shares(25, 50), np.r_[np.ones(20), np.zeros(5), np.ones(10), np.zeros(15)]
    found = kappa(first[None], second[None], 0.95)
    assert found.value == pytest.approx(0.4) and found.n == 50  # 35 of 50 agree, 25 by chance
    assert kappa(first, second, 0.95) == found
    reach = Z * cohens_kappa(np.array([[20, 5], [10, 15]])).std_kappa
    assert (found.low, found.high) == pytest.approx((0.4 - reach, 0.4 + reach), abs=0.005)


def test_kappas_interval_with_raters_of_unequal_shares_is_statsmodels():
    cells = np.array([[30, 12], [3, 15]])
    first, second = (np.repeat(side, cells.ravel()) for side in ([1.0, 1, 0, 0], [1.0, 0, 1, 0]))
    found, expected = kappa(first, second, 0.95), cohens_kappa(cells)
    reach = Z * expected.std_kappa * np.sqrt(60 / 59)  # theirs divides by n
    assert found[:4] == pytest.approx((expected.kappa, expected.kappa - reach, expected.kappa + reach, 60))
    assert kappa(second, first, 0.95)[:3] == pytest.approx(found[:3])


def test_kappa_of_answers_that_one_rater_left_out_is_that_of_the_others():
    cells = np.array([[30, 12], [3, 15]])
    first, second = (np.repeat(side, cells.ravel()) for side in ([1.0, 1, 0, 0], [1.0, 0, 1, 0]))
    more = kappa(np.r_[first, NAN, 1.0, NAN], np.r_[second, 1.0, NAN, NAN], 0.95)
    assert more == pytest.approx(kappa(first, second, 0.95), nan_ok=True)


def test_kappa_of_one_prompt_has_no_interval_and_of_opposite_raters_ends_at_minus_1():
    once = np.array([[1.0], [0.0], [1.0]])
    assert np.isnan(kappa(once, once, 0.95).value) and kappa(once, once, 0.95).n == 3
    twice = kappa(shares(1, 2), shares(1, 2), 0.95)
    assert (twice.value, twice.low, twice.high, twice.n) == (1.0, 1.0, 1.0, 2)
    opposite = kappa(shares(2, 4), 1 - shares(2, 4), 0.95)
    assert (opposite.value, opposite.low) == (-1.0, -1.0)
    nearly = kappa(shares(3, 7), shares(4, 7), 0.95)
    assert nearly.value < nearly.high == 1.0
    apart = kappa(shares(3, 7), 1 - shares(4, 7), 0.95)
    assert apart.value > apart.low == -1.0


def test_kappa_takes_the_answers_of_a_prompt_together():
    rng = np.random.default_rng(3)
    first = rng.integers(0, 2, 60).astype(float)
    second = np.where(rng.random(60) < 0.2, 1 - first, first)
    one, four = kappa(first[None], second[None], 0.95), kappa(np.tile(first, (4, 1)), np.tile(second, (4, 1)), 0.95)
    assert four.n == 240 and four[:3] == pytest.approx(one[:3])


def test_kappa_says_nothing_where_a_rater_always_says_the_same():
    assert np.isnan(kappa(np.ones((1, 5)), shares(2, 5)[None], 0.95).value)
    assert np.isnan(kappa(np.ones((1, 0)), np.ones((1, 0)), 0.95).value)
