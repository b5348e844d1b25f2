"""The variance of a contrast of conditions where trainings and prompts are both random.

Each training of a condition answers the same prompts, so a value varies with the training, with the prompt, and with
both. The variance of a contrast of conditions is V_prompts + max(V_trainings - V_residual, 0): the variance of the mean
over prompts, and that of the mean over trainings, less the residual, which both contain. Degrees of freedom after
Satterthwaite (1946). `benchmarks/inference_simulation.py` measures error and coverage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from formsafe.analysis.score_table import Array
from formsafe.analysis.statistics import known_mean

Clusters = NDArray[np.int_] | None


@dataclass(frozen=True)
class Side:
    """One condition in a contrast.

    Args:
        values: [..., trainings, prompts] over the same prompts on all sides, NaN unknown.
        weight: of its mean in the contrast.
        fixed: a model without training: there is one of it, and its mean has no scatter between trainings.
    """

    values: Array
    weight: float = 1.0
    fixed: bool = False


@dataclass(frozen=True)
class Spread:
    """A contrast with its variance and degrees of freedom, each [...].

    `design_effect`: variance over prompts with near-duplicates as one cluster, over the one without; at least 1.
    """

    value: Array
    variance: Array
    freedom: Array
    design_effect: Array


def crossed(sides: Sequence[Side], clusters: Clusters = None) -> Spread:
    """The contrast sum(weight * mean) with its variance over trainings and prompts.

    Trainings of different sides are taken as independent: what equal seeds share (the order of the rows) can only make
    the variance larger than needed. A trained side with one training borrows the scatter of the others.

    Args:
        sides: values [..., trainings, prompts], no prompt that a side has no value of.
        clusters: number of the cluster of each prompt; None where every prompt is its own.
    """
    contrast = np.sum([side.weight * known_mean(side.values, -2) for side in sides], axis=0)
    value = np.sum([side.weight * known_mean(known_mean(side.values, -1), -1) for side in sides], axis=0)
    prompts, groups, effect = prompt_variance(contrast - contrast.mean(axis=-1, keepdims=True), clusters)
    scatter, residual, scale = trainings_variance(sides)
    # The difference estimates a variance and can be negative, as for any random effect without one.
    variance = prompts + np.maximum(scatter - residual, 0)
    below = prompts**2 / max(1, groups - 1) + scale
    freedom = np.divide(variance**2, below, out=np.full_like(variance, np.inf), where=below > 0)
    # Satterthwaite's approximation goes below 1 for a variance that is nearly 0; t has no such quantile.
    return Spread(np.asarray(value), variance, np.maximum(freedom, 1), effect)


def prompt_variance(deviations: Array, clusters: Clusters) -> tuple[Array, int, Array]:
    """Variance of a mean over prompts from its deviations [..., prompts], near-duplicates as one cluster.

    Returns:
        Variance, number of clusters, and what the clusters multiply it by (at least 1).
    """
    n = deviations.shape[-1]
    variance = (deviations**2).sum(axis=-1) / (n * max(1, n - 1))
    one = np.ones_like(variance)
    if clusters is None or (groups := len(np.unique(clusters))) == n:
        return variance, n, one
    totals = deviations @ (clusters[:, None] == np.unique(clusters)).astype(float)
    clustered = (totals**2).sum(axis=-1) * groups / (n**2 * max(1, groups - 1))
    effect = np.divide(clustered, variance, out=one.copy(), where=variance > 0)
    # Clusters that are by chance less alike than single prompts must not narrow the interval.
    return variance * np.maximum(effect, 1), groups, np.maximum(effect, 1)


def trainings_variance(sides: Sequence[Side]) -> tuple[Array, Array, Array]:
    """Variance of the contrast by trainings, the residual in it, and the sum of squared variances over freedom."""
    trained = [side for side in sides if not side.fixed]
    repeated = [side for side in trained if side.values.shape[-2] > 1]
    total = np.zeros((3, *sides[0].values.shape[:-2]))
    if not repeated:
        return total[0], total[1], total[2]
    pool = np.stack([_scatter(side) for side in repeated]).mean(axis=0)
    borrowed = sum(side.values.shape[-2] - 1 for side in repeated)
    for side in trained:
        k = side.values.shape[-2]
        between, within = side.weight**2 / k * (_scatter(side) if k > 1 else pool)
        total += np.stack([between, within, between**2 / (k - 1 if k > 1 else borrowed)])
    return total[0], total[1], total[2]


def _scatter(side: Side) -> Array:
    """Variance of the trainings' means, and the residual's part of it, [2, ...]."""
    means, prompts = known_mean(side.values, -1), known_mean(side.values, -2)
    fitted = means[..., None] + prompts[..., None, :] - known_mean(means, -1)[..., None, None]
    known = ~np.isnan(side.values)
    squares = np.where(known, side.values - fitted, 0.0) ** 2
    k, n = side.values.shape[-2:]
    freedom = np.maximum(known.sum(axis=(-2, -1)) - k - n + 1, 1)
    return np.stack([means.var(axis=-1, ddof=1), squares.sum(axis=(-2, -1)) / freedom / n])
