"""The statistics of the study, on arrays: SciPy's and statsmodels' methods, and a bootstrap that shares its draws."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint

from formsafe.analysis.estimates import Estimate

Array = NDArray[np.float64]
CHUNK = 1000  # draws at once: 1,000 x 1,320 weights are 10 MB


def wilson(outcomes: Array, confidence: float) -> Estimate:
    """Share of ones among `outcomes` (0, 1 or NaN for unknown) with its Wilson score interval."""
    known = outcomes[~np.isnan(outcomes)]
    if not known.size:
        return Estimate(np.nan, np.nan, np.nan, 0)
    low, high = proportion_confint(known.sum(), known.size, alpha=1 - confidence, method="wilson")
    return Estimate(float(known.mean()), max(0.0, float(low)), min(1.0, float(high)), known.size)


def resampled_means(columns: Array, draws: int, seed: int) -> Array:
    """Means of bootstrap samples of the rows, all columns on the same draws.

    Args:
        columns: [n, k]; a row is one prompt, NaN an unknown value, which a column's mean leaves out.
        draws: number of bootstrap samples.
        seed: of the draws; equal seeds and n give equal samples.

    Returns:
        [draws, k]; NaN where a sample holds no known value of the column.
    """
    n, k = columns.shape
    if not n or not k:
        return np.full((draws, k), np.nan)
    known = ~np.isnan(columns)
    filled, complete = np.where(known, columns, 0.0), bool(known.all())
    rng = np.random.default_rng(seed)
    means = np.empty((draws, k))
    for start in range(0, draws, CHUNK):
        size = min(CHUNK, draws - start)
        drawn = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)
        counts = n if complete else weights @ known
        with np.errstate(invalid="ignore"):
            means[start : start + size] = weights @ filled / counts
    return means


def seed_weights(seeds: int, draws: int, seed: int) -> Array:
    """Weights [draws, seeds] of bootstrap samples of training seeds; each row sums to 1.

    The mean of k values drawn with replacement has (k - 1) / k of the variance it should have, half of it at two seeds:
    the weights are spread about their mean by the root of k / (k - 1), which makes some of them negative.
    """
    if seeds == 1:
        return np.ones((draws, 1))
    rng = np.random.default_rng([seed, seeds])
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    return 1 / seeds + (weights - 1 / seeds) * np.sqrt(seeds / (seeds - 1))


def bootstrap_groups(groups: list[Array], confidence: float, draws: int, seed: int) -> list[Estimate]:
    """Mean over prompts and training seeds of each group, with a percentile interval that resamples both.

    Args:
        groups: arrays [seeds, n] over the same n prompts; NaN is unknown. One seed: prompts alone are resampled.
        confidence: level of the intervals.
        draws: number of bootstrap samples.
        seed: of the draws; all groups share them, which pairs the groups by prompt.
    """
    groups = [_known_seeds(group) for group in groups]
    if not groups:
        return []
    means = resampled_means(np.concatenate(groups).T, draws, seed)
    estimates, start = [], 0
    for group in groups:
        weights = seed_weights(len(group), draws, seed)
        drawn = (means[:, start : start + len(group)] * weights).sum(axis=1)
        start += len(group)
        estimates.append(_percentiles(group, drawn[~np.isnan(drawn)], confidence))
    return estimates


def _known_seeds(group: Array) -> Array:
    """The seeds of a group that have a value; a seed without any says nothing and must not hide the others."""
    known = ~np.isnan(group).all(axis=1)
    return group[known] if known.any() else group[:1]


def _percentiles(group: Array, drawn: Array, confidence: float) -> Estimate:
    known = int((~np.isnan(group)).sum())
    if not known or not drawn.size:
        return Estimate(np.nan, np.nan, np.nan, 0)
    value = float(np.nanmean(group, axis=1).mean())
    drawn = drawn.clip(np.nanmin(group), np.nanmax(group))  # where no mean can lie, spread seed weights may reach
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), known)


def mcnemar_test(first: Array, second: Array) -> tuple[int, int, float]:
    """Exact McNemar test of two paired 0/1 vectors without NaN.

    Returns:
        Pairs where only the first is 1, pairs where only the second is, and p (NaN without pairs).
    """
    if not first.size:
        return 0, 0, np.nan
    a, b = first.astype(bool), second.astype(bool)
    table = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
    only_first, only_second = table[0][1], table[1][0]
    if not only_first and not only_second:
        return 0, 0, 1.0
    return only_first, only_second, float(mcnemar(table, exact=True).pvalue)


def mean_test(differences: Array) -> float:
    """p of the paired t-test: is the mean of the differences [n] between two sides of a prompt 0? NaN is left out.

    Where all differences are the same, t has no spread to go by: p is 1 if they are 0, else that of the sign test.
    """
    known = differences[~np.isnan(differences)]
    if not known.size:
        return np.nan
    if np.allclose(known, known[0]):
        return 1.0 if np.isclose(known[0], 0) else float(min(1.0, 2 * 0.5**known.size))
    return float(ttest_1samp(known, 0).pvalue)


def known_mean(values: Array, axis: int) -> Array:
    """Mean along an axis of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    return np.where(counts > 0, np.where(known, values, 0.0).sum(axis=axis) / np.maximum(counts, 1), np.nan)


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjustment; NaN stays NaN and does not count."""
    adjusted = np.array(p_values, dtype=float)
    known = ~np.isnan(adjusted)
    order = np.argsort(adjusted[known], kind="stable")
    steps = adjusted[known][order] * np.arange(len(order), 0, -1)
    adjusted[np.flatnonzero(known)[order]] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in adjusted]


def kappa(first: Array, second: Array, confidence: float) -> Estimate:
    """Cohen's kappa of two raters' 0/1 verdicts on the same items, NaN left out.

    NaN where a rater gave one verdict only: agreement then says nothing beyond chance.
    """
    known = ~np.isnan(first) & ~np.isnan(second)
    a, b = first[known].astype(bool), second[known].astype(bool)
    if not known.any() or a.all() or b.all() or not a.any() or not b.any():
        return Estimate(np.nan, np.nan, np.nan, int(known.sum()))
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    result = cohens_kappa(np.array(table, dtype=float))
    value, reach = float(result.kappa), float(norm.ppf((1 + confidence) / 2) * result.std_kappa)
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), int(known.sum()))


@cache
def _detectable_effect(n: int, confidence: float, power: float) -> float:
    """Cohen's h; statsmodels searches for it, and one n serves all comparisons of a study."""
    return float(np.squeeze(NormalIndPower().solve_power(nobs1=n, alpha=1 - confidence, power=power, ratio=1.0)))


def detectable_difference(share: float, n: int, confidence: float, power: float) -> float:
    """Smallest rise above `share` that n prompts a side find at this level and power.

    Two independent samples are assumed; pairing by prompt finds smaller ones, so this is an upper bound.
    """
    if not n or np.isnan(share):
        return np.nan
    angle = np.arcsin(np.sqrt(share)) + _detectable_effect(n, confidence, power) / 2
    return float(np.sin(angle) ** 2 - share) if angle < np.pi / 2 else np.nan
