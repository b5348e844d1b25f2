"""Estimates and tests that take trainings and prompts as random: what holds for a method, not only for its adapters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # of one number a tenth of the time that scipy.stats takes
from scipy.stats import f as f_distribution

from formsafe.analysis.crossed import Clusters, Side, crossed, prompt_variance, trainings_variance
from formsafe.analysis.estimates import wilson
from formsafe.analysis.statistics import Table, cochran_q, known_mean, mcnemar, newcombe

NO_SPREAD = 1e-12  # a variance below is 0 but for rounding


@dataclass(frozen=True)
class Result:
    """An estimate with its interval and test; NaN where there is nothing to tell.

    Attributes:
        trainings: the fewest trainings of a trained side; 1 if no side is trained.
        error: standard error, where trainings scatter; `freedom`: its degrees of freedom.
        table: of two single trainings.
    """

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    prompts: int = 0
    trainings: int = 0
    error: float = np.nan
    freedom: float = np.nan
    test: str = ""
    table: Table | None = None

    @property
    def discordant(self) -> tuple[float, float]:
        """Prompts where only the first side is 1, and where only the second is; NaN without a table."""
        return (np.nan, np.nan) if self.table is None else (self.table.only_a, self.table.only_b)


def estimate(sides: Sequence[Side], confidence: float, share: bool = True, clusters: Clusters = None) -> Result:
    """The contrast of the sides' means, its interval, and p that it is 0.

    One training a side, one or two sides of shares: Wilson's or Newcombe's score interval and the exact McNemar test,
    with n divided by the design effect of near-duplicate prompts (Rao and Scott 1992). Otherwise t over trainings and
    prompts; the share of one condition over trainings in Wilson's form (Korn and Graubard 1998).

    Args:
        sides: conditions and their weights, as in `Side`.
        confidence: level of the interval.
        share: whether the values are 0 and 1.
        clusters: number of the cluster of each prompt.
    """
    sides, clusters = comparable(sides, clusters)
    prompts = sides[0].values.shape[-1]
    if not prompts:
        return Result()
    spread = crossed(sides, clusters)
    # Rounded, so that equal means leave no difference of 1e-17 with a sign.
    value = round(float(spread.value), 12)
    variance, freedom = float(spread.variance), float(spread.freedom)
    known = Result(prompts=prompts, trainings=fewest(sides))
    single, flat = one_training(sides), not variance > NO_SPREAD
    if share and len(sides) <= 2 and (single or flat):
        return _score(sides, confidence, float(spread.design_effect), known)
    if flat:  # every value alike: no spread, so no interval
        return replace(known, value=value, p=1.0 if abs(value) < NO_SPREAD else np.nan, test="none")
    error, critical = np.sqrt(variance), float(stdtrit(freedom, (1 + confidence) / 2))
    low, high = value - critical * error, value + critical * error
    if share and len(sides) == 1:
        # With so many independent prompts a share would have this variance.
        low, high = wilson(value, value * (1 - value) / variance, critical)
    elif share:
        low = max(low, sum(min(0.0, side.weight) for side in sides))
        high = min(high, sum(max(0.0, side.weight) for side in sides))
    p = float(2 * stdtr(freedom, -abs(value) / error))
    test = "t over prompts" if single else "t over trainings and prompts"
    found = replace(known, value=value, low=low, high=high, p=p)
    return replace(found, error=float(error), freedom=freedom, test=test)


def _score(sides: Sequence[Side], confidence: float, effect: float, known: Result) -> Result:
    """Score interval and exact test of one or two shares of one training each (the first, if all are equal)."""
    critical, values = float(ndtri((1 + confidence) / 2)), [side.values[0] for side in sides]
    if len(values) == 1:
        value = float(np.nanmean(values[0]))
        low, high = wilson(value, known.prompts / effect, critical)
        return replace(known, value=value, low=low, high=high, test="Wilson")
    both = ~np.isnan(values[0]) & ~np.isnan(values[1])
    table = Table.of(values[0][both], values[1][both])
    worth = table.divided(effect)
    value, (low, high) = (table.only_b - table.only_a) / sum(table), newcombe(worth, critical)
    return replace(known, value=value, low=low, high=high, p=mcnemar(worth), test="exact McNemar", table=table)


def trend(sides: Sequence[Side], confidence: float, share: bool = True, clusters: Clusters = None) -> Result:
    """A linear contrast; at one training of shares its p is the linear part of Cochran's Q.

    Q permutes the answers of a prompt among the conditions, which allows for the ties that scores of 0 and 1 are full
    of; Page's test does not.
    """
    found = estimate(sides, confidence, share, clusters)
    sides, clusters = comparable(sides, clusters)
    if not (share and found.prompts and one_training(sides)):
        return found
    values, weights = np.stack([side.values[0] for side in sides]), np.array([side.weight for side in sides])
    # Of the contrast when each prompt's answers are permuted among the conditions (the weights add up to 0).
    variance = values.var(axis=0, ddof=1).sum() * (weights**2).sum()
    if variance < NO_SPREAD:
        return found
    effect = float(crossed(sides, clusters).design_effect)
    score = abs(weights @ values.sum(axis=1)) / np.sqrt(variance * effect)
    return replace(found, p=float(2 * ndtr(-score)), test="linear part of Cochran's Q")


def omnibus(sides: Sequence[Side], share: bool = True, clusters: Clusters = None) -> Result:
    """Whether several conditions differ at all; `value` is the range of their means.

    One training each of shares: Cochran's Q. Otherwise a quasi-F over trainings and prompts (Clark 1973): the variance
    of the means against the one that they have if the conditions are equal, degrees of freedom after Satterthwaite.
    """
    sides, clusters = comparable(sides, clusters)
    k, prompts = len(sides), sides[0].values.shape[-1]
    if k < 2 or not prompts:
        return Result()
    means = np.array([float(known_mean(known_mean(side.values, -1), -1)) for side in sides])
    found = Result(float(np.ptp(means)), prompts=prompts, trainings=fewest(sides))
    single = one_training(sides)
    if share and single:
        return replace(found, p=cochran_q(np.stack([side.values[0] for side in sides])), test="Cochran's Q")
    by_prompt = np.stack([known_mean(side.values, -2) for side in sides])
    residuals = by_prompt - by_prompt.mean(axis=0)
    within, groups, _ = prompt_variance(residuals - residuals.mean(axis=1, keepdims=True), clusters)
    prompts_share = float(within.sum()) / (k - 1)
    scatter, residual, scale = trainings_variance(sides)
    # An estimate of a variance by a difference can be negative: the trainings then add nothing.
    variance = prompts_share + max(0.0, float(scatter - residual)) / k
    if not variance > NO_SPREAD:
        return replace(found, p=1.0 if found.value < NO_SPREAD else np.nan, test="none")
    below = prompts_share**2 / max(1, (k - 1) * (groups - 1)) + float(scale) / k**2
    ratio = float(means.var(ddof=1)) / variance
    p = float(f_distribution.sf(ratio, k - 1, max(1.0, variance**2 / below)))
    return replace(found, p=p, test="F over prompts" if single else "F over trainings and prompts")


def comparable(sides: Sequence[Side], clusters: Clusters) -> tuple[list[Side], Clusters]:
    """The sides without trainings that have no value, over the prompts that every side has a value of."""
    sides = [_scored(side) for side in sides]
    known = np.logical_and.reduce([~np.isnan(side.values).all(axis=-2) for side in sides])
    # A training may have none of the prompts that all sides share.
    sides = [_scored(replace(side, values=side.values[:, known])) for side in sides]
    return sides, None if clusters is None else clusters[known]


def _scored(side: Side) -> Side:
    known = ~np.isnan(side.values).all(axis=-1)
    return replace(side, values=side.values[known] if known.any() else side.values[:1])


def one_training(sides: Sequence[Side]) -> bool:
    """Whether no side has a second training, so that nothing can be said beyond these."""
    return all(len(side.values) == 1 for side in sides)


def fewest(sides: Sequence[Side]) -> int:
    """Trainings of the side that has the fewest; models without training do not count."""
    return min((len(side.values) for side in sides if not side.fixed), default=1)
