"""Statistics of one training, prompts taken as independent: intervals of shares, exact tests and their power, kappa."""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, norm

from formsafe.analysis.estimates import UNKNOWN, Estimate, wilson
from formsafe.analysis.score_table import Array


class Table(NamedTuple):
    """Two paired 0/1 outcomes as counts: both 1, only the first, only the second, none."""

    both: float
    only_a: float
    only_b: float
    none: float

    @classmethod
    def of(cls, a: Array, b: Array) -> "Table":
        """Count two vectors of 0 and 1 without NaN."""
        return cls(*(float(side.sum()) for side in (a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b))))

    def divided(self, effect: float) -> "Table":
        """The table of as many independent prompts as n prompts with this design effect are worth."""
        return Table(*(cell / effect for cell in self))


def newcombe(table: Table, critical: float) -> tuple[float, float]:
    """Interval of the difference b - a of two paired shares: Newcombe (1998, paired data), method 10.

    Wilson's limits of both shares, joined by the correlation of the pairs (with Newcombe's continuity correction).
    """
    n = sum(table)
    a, b = (table.both + table.only_a) / n, (table.both + table.only_b) / n
    (a_low, a_high), (b_low, b_high) = wilson(a, n, critical), wilson(b, n, critical)
    determinant = table.both * table.none - table.only_a * table.only_b
    corrected = max(determinant - n / 2, 0) if determinant > 0 else determinant
    scale = np.sqrt(a * (1 - a) * b * (1 - b)) * n**2
    phi = corrected / scale if scale else 0.0
    below, above = (b - b_low, a_high - a), (b_high - b, a - a_low)
    # With a perfect correlation the sum is 0, and rounding can make it negative: its root would be NaN.
    reach = [float(np.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))) for one, other in (below, above)]
    return max(-1.0, b - a - reach[0]), min(1.0, b - a + reach[1])


def mcnemar(table: Table) -> float:
    """p of the exact McNemar test (two-sided binomial test of the discordant pairs)."""
    only_b, discordant = round(table.only_b), round(table.only_a) + round(table.only_b)
    return float(binomtest(only_b, discordant).pvalue) if discordant else 1.0


def mcnemar_power(difference: float, against: float, n: int, level: float) -> float:
    """Power of the exact McNemar test, without simulation.

    Args:
        difference: share of prompts where only the second side is 1 minus the share where only the first is.
        against: the latter share; the discordance is `difference + 2 * against`.
        n: prompts.
        level: the test rejects where p is below.
    """
    discordance = difference + 2 * against
    counts = np.arange(1, n + 1)
    # Largest number of pairs on the rarer side at which the test still rejects; -1 where it never does. Half of
    # `level`, since p doubles the smaller tail; minus 1, since the quantile's own p is at least `level`.
    largest = binom.ppf(level / 2, counts, 0.5) - 1
    chance = (difference + against) / discordance
    rejects = binom.cdf(largest, counts, chance) + binom.sf(counts - largest - 1, counts, chance)
    return float(binom.pmf(counts, n, discordance) @ rejects)


@cache
def detectable_difference(against: float, room: float, n: int, level: float, power: float) -> float:
    """Smallest difference that the exact McNemar test finds with this power.

    Args:
        against: share of prompts that move the other way, held fixed: with the difference it states the discordance.
        room: the largest difference that there can be.
        n: prompts.
        level: of the test, Holm's first step included.
        power: wanted.

    Returns:
        NaN where not even the largest difference is found.
    """
    # At a difference of exactly 0 without discordant pairs the chance in `mcnemar_power` is 0 / 0.
    least, most = 1e-9, min(room, 1 - 2 * against)
    if not n or np.isnan(against) or most <= least or mcnemar_power(most, against, n, level) < power:
        return np.nan
    return float(brentq(lambda rise: mcnemar_power(rise, against, n, level) - power, least, most, xtol=1e-6))


def known_mean(values: Array, axis: int) -> Array:
    """Mean along an axis of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    # Filled with 0 and divided by at least 1: `nanmean` warns of every empty slice, in each job's log.
    return np.where(counts > 0, np.where(known, values, 0.0).sum(axis=axis) / np.maximum(counts, 1), np.nan)


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjustment (1979); NaN stays NaN and does not count."""
    adjusted = np.array(p_values, dtype=float)
    known = np.flatnonzero(~np.isnan(adjusted))
    order = known[np.argsort(adjusted[known], kind="stable")]
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in adjusted]


def cochran_q(values: Array) -> float:
    """p of Cochran's Q (1950): do k conditions answer the same prompts alike? `values` [k, n] of 0 and 1."""
    from statsmodels.stats.contingency_tables import cochrans_q

    if (values == values[0]).all():
        return 1.0  # no prompt tells the conditions apart: Q would be 0 / 0
    return float(cochrans_q(values.T).pvalue)


def kappa(first: Array, second: Array, confidence: float) -> Estimate:
    """Cohen's kappa of two raters over the same answers, with an interval that takes a prompt's answers together.

    The delta method's influence of each answer, summed by prompt (one answer a prompt: Fleiss, Cohen and Everitt 1969).

    Args:
        first: 0/1 [trainings, prompts] or [prompts], NaN left out.
        second: likewise.
        confidence: level of the interval.

    Returns:
        NaN where a rater gave one verdict only: agreement then says nothing beyond chance.
    """
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    known = ~np.isnan(first) & ~np.isnan(second)
    n, prompts = int(known.sum()), int(known.any(axis=0).sum())
    a, b = (float(side[known].mean()) if n else np.nan for side in (first, second))
    if not n or {a, b} & {0.0, 1.0} or prompts < 2:
        return UNKNOWN._replace(n=n)
    agree = 1 - np.abs(first - second)
    observed, chance = float(agree[known].mean()), a * b + (1 - a) * (1 - b)
    by_chance = (first - a) * (2 * b - 1) + (second - b) * (2 * a - 1)
    influence = ((agree - observed) * (1 - chance) - (1 - observed) * by_chance) / (1 - chance) ** 2
    totals = np.where(known, influence, 0.0).sum(axis=0)
    error = np.sqrt((totals**2).sum() * prompts / (prompts - 1)) / n
    value, reach = (observed - chance) / (1 - chance), float(norm.ppf((1 + confidence) / 2) * error)
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), n)
