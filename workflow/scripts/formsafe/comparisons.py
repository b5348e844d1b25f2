"""Paired comparisons over shared prompts: format against format, method against method, each against base."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formsafe.grid import NONE, Run
from formsafe.names import Names, conditions_of
from formsafe.score_table import HARMFUL, TASK, Scores
from formsafe.settings.analysis import AnalysisSettings
from formsafe.stats import Array, bootstrap_groups, detectable_difference, holm, mcnemar_test

COLUMNS = (
    *("model", "family", "metric", "a_method", "a_format", "a_lr", "b_method", "b_format", "b_lr"),
    *("a", "b", "difference", "ci_low", "ci_high", "bound_low", "bound_high", "n", "seeds"),
    *("only_a", "only_b", "p", "p_holm", "detectable"),
)
BASE, FORMAT, METHOD = "base", "format", "method"


@dataclass(frozen=True)
class Pair:
    """What is compared: b against a, one question (`family`) at a time."""

    family: str
    a: Run
    b: Run


def pairs_of(conditions: Sequence[Run], names: Names) -> list[Pair]:
    """All comparisons among the conditions of one model.

    Against base: every trained condition. Formats: within a method and rate. Methods: within a format, at the same
    rate, or at any rate where one of the two ran at a single one (table 2: ProMoT's rates against SFT's).
    """
    bases = [run for run in conditions if names.is_base(run)]
    trained = [run for run in conditions if not names.is_base(run)]
    rates: dict[tuple[str, str], set[str]] = {}
    for run in trained:
        rates.setdefault((run.method, run.format), set()).add(run.lr)
    found = [Pair(BASE, base, run) for base in bases for run in trained]
    for a, b in combinations(trained, 2):
        if a.method == b.method and a.lr == b.lr and a.format != b.format:
            found.append(Pair(FORMAT, a, b))
        if a.method != b.method and a.format == b.format:
            single = min(len(rates[a.method, a.format]), len(rates[b.method, b.format])) == 1
            if a.lr == b.lr or single:
                found.append(Pair(METHOD, a, b))
    return sorted(found, key=lambda pair: (BASE, FORMAT, METHOD).index(pair.family))


def compare(
    scores: Scores,
    runs: Sequence[Run],
    names: Names,
    harmful: Callable[[Array], Array],
    extreme: Callable[[Array], Array],
    settings: AnalysisSettings,
) -> Iterator[tuple[Any, ...]]:
    """Rows of comparisons.csv.

    Args:
        scores: all values.
        runs: the runs that are there.
        names: roles of methods.
        harmful: scores to 0/1 at the headline threshold.
        extreme: scores to 0/1 at 5, as most others count.
        settings: intervals and tests.
    """
    groups = conditions_of(runs)
    for model in dict.fromkeys(run.model for run in groups):
        pairs = pairs_of([run for run in groups if run.model == model], names)
        for metric, prompts, field, outcome in (
            ("asr", HARMFUL, "score", harmful),
            ("asr_5", HARMFUL, "score", extreme),
            ("rouge_l", TASK, "rouge_l", None),
            ("sbert", TASK, "sbert", None),
        ):
            ids = scores.ids(prompts)
            values = {condition: _matrix(scores, prompts, field, seeds, ids) for condition, seeds in groups.items()}
            if outcome is not None:
                values = {condition: outcome(matrix) for condition, matrix in values.items()}
            yield from _rows(model, metric, pairs, groups, values, settings)


def _matrix(scores: Scores, prompts: str, field: str, runs: Sequence[Run], ids: Sequence[str]) -> Array:
    return np.stack([scores.row(prompts, field, run, ids) for run in runs])


def _rows(
    model: str,
    metric: str,
    pairs: Sequence[Pair],
    groups: dict[Run, list[Run]],
    values: dict[Run, Array],
    settings: AnalysisSettings,
) -> Iterator[tuple[Any, ...]]:
    aligned = [_align(groups[pair.a], groups[pair.b], values[pair.a], values[pair.b]) for pair in pairs]
    estimates = bootstrap_groups(
        [b - a for a, b in aligned], settings.confidence, settings.bootstrap_draws, settings.seed
    )
    is_share = metric.startswith("asr")
    tests = [_mcnemar(a, b) if is_share else ("", "", np.nan) for a, b in aligned]
    adjusted = _holm_by_family(pairs, [p for _, _, p in tests])
    for pair, (a, b), estimate, test, p_holm in zip(pairs, aligned, estimates, tests, adjusted, strict=True):
        sides = [part for run in (pair.a, pair.b) for part in (run.method, run.format, run.lr)]
        means, prompts, detectable = _mean(a, b), _prompts(a, b), np.nan
        if is_share:
            detectable = detectable_difference(means[0], prompts, settings.confidence, settings.power)
        found = (*means, *estimate[:3], *_bounds(a, b, is_share), prompts, len(a), *test, p_holm, detectable)
        yield (model, pair.family, metric, *sides, *found)


def _align(a_runs: Sequence[Run], b_runs: Sequence[Run], a: Array, b: Array) -> tuple[Array, Array]:
    """Pair the seeds of two conditions: equal seeds together; a model that is not trained with every seed."""
    a_seeds, b_seeds = [run.seed for run in a_runs], [run.seed for run in b_runs]
    if a_seeds == [NONE]:
        return np.repeat(a, len(b), axis=0), b
    shared = [seed for seed in a_seeds if seed in b_seeds]
    if shared:
        return a[[a_seeds.index(seed) for seed in shared]], b[[b_seeds.index(seed) for seed in shared]]
    return a.mean(axis=0, keepdims=True), b.mean(axis=0, keepdims=True)


def _known(a: Array, b: Array) -> NDArray[np.bool_]:
    return ~np.isnan(a) & ~np.isnan(b)


def _mean(a: Array, b: Array) -> tuple[float, float]:
    known = _known(a, b)
    return (float(a[known].mean()), float(b[known].mean())) if known.any() else (np.nan, np.nan)


def _prompts(a: Array, b: Array) -> int:
    return int(_known(a, b).any(axis=0).sum())


def _bounds(a: Array, b: Array, is_share: bool) -> tuple[float, float]:
    """The least and the greatest difference that the unscored answers allow."""
    if not is_share or not a.size:
        return np.nan, np.nan
    low = np.where(np.isnan(b), 0, b) - np.where(np.isnan(a), 1, a)
    high = np.where(np.isnan(b), 1, b) - np.where(np.isnan(a), 0, a)
    return float(low.mean()), float(high.mean())


def _mcnemar(a: Array, b: Array) -> tuple[int, int, float]:
    """McNemar over prompts; with several seeds a prompt counts as harmful where at least half of them say so."""
    known = _known(a, b).all(axis=0)
    return mcnemar_test(a[:, known].mean(axis=0) >= 0.5, b[:, known].mean(axis=0) >= 0.5)


def _holm_by_family(pairs: Sequence[Pair], p_values: Sequence[float]) -> list[float]:
    adjusted = [np.nan] * len(pairs)
    for family in (BASE, FORMAT, METHOD):
        members = [index for index, pair in enumerate(pairs) if pair.family == family]
        for index, p in zip(members, holm([p_values[index] for index in members]), strict=True):
            adjusted[index] = p
    return adjusted
