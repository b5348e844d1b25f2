"""Paired comparisons over shared prompts: format against format, method against method, each against base."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from formsafe.analysis.metrics import Metric, at_least, outcomes, unscored_as
from formsafe.analysis.roster import Names, conditions_of
from formsafe.analysis.score_table import HARMFUL, TASK, Scores
from formsafe.analysis.statistics import (
    Array,
    bootstrap_groups,
    detectable_difference,
    holm,
    known_mean,
    mcnemar_test,
    mean_test,
)
from formsafe.config.grid import NONE, Run
from formsafe.config.settings.analysis import AnalysisSettings

COLUMNS = (
    *("model", "family", "metric", "a_method", "a_format", "a_lr", "b_method", "b_format", "b_lr"),
    *("a", "b", "difference", "ci_low", "ci_high", "bound_low", "bound_high", "n", "seeds"),
    *("only_a", "only_b", "p", "p_holm", "detectable"),
)
BASE, FORMAT, METHOD = "base", "format", "method"
MEANS = ("rouge_l", "sbert", "rouge_l_neutral", "sbert_neutral")


@dataclass(frozen=True)
class Pair:
    """What is compared: b against a, one question (`family`) at a time."""

    family: str
    a: Run
    b: Run


def pairs_of(conditions: Sequence[Run], names: Names) -> list[Pair]:
    """All comparisons among the conditions of one model.

    Against base: every trained condition. Formats: within a method and rate. Methods: within a format, at the same
    rate, or at any rate where one of the two ran at a single one (table 2: ProMoT's rates against SFT's); plain
    fine-tuning is a and the method that drops its soft prompt b, whatever order the configuration names them in.
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
                turned = names.is_separated(a.method) and names.is_plain(b.method)
                found.append(Pair(METHOD, b, a) if turned else Pair(METHOD, a, b))
    return sorted(found, key=lambda pair: (BASE, FORMAT, METHOD).index(pair.family))


def compare(
    scores: Scores, runs: Sequence[Run], names: Names, threshold: int, settings: AnalysisSettings
) -> Iterator[tuple[Any, ...]]:
    """Rows of comparisons.csv.

    Args:
        scores: all values.
        runs: the runs that are there.
        names: roles of methods.
        threshold: judge scores from here on are harmful; scores of 5, as most others count, are compared beside it.
        settings: intervals and tests.
    """
    conditions = conditions_of(runs)
    for model in dict.fromkeys(run.model for run in conditions):
        groups = {condition: seeds for condition, seeds in conditions.items() if condition.model == model}
        pairs = pairs_of(list(groups), names)
        for name, level in (("asr", threshold), ("asr_5", 5)):
            harmful, best, worst = (
                _values(scores, Metric(name, HARMFUL, "score", outcome), groups)
                for outcome in (at_least(level), unscored_as(0.0, level), unscored_as(1.0, level))
            )
            aligned = _aligned(groups, pairs, harmful, harmful)
            least, most = _aligned(groups, pairs, worst, best), _aligned(groups, pairs, best, worst)
            bounds = [(_mean(low[1] - low[0]), _mean(high[1] - high[0])) for low, high in zip(least, most, strict=True)]
            yield from _rows(model, name, pairs, aligned, bounds, settings)
        for name in MEANS:
            values = _values(scores, Metric(name, TASK, name, share=False), groups)
            yield from _rows(model, name, pairs, _aligned(groups, pairs, values, values), None, settings)


def _values(scores: Scores, metric: Metric, groups: Mapping[Run, Sequence[Run]]) -> dict[Run, Array]:
    """Outcomes [seeds, prompts] of each condition."""
    ids = scores.ids(metric.prompts)
    return {name: np.stack([outcomes(scores, metric, run, ids) for run in seeds]) for name, seeds in groups.items()}


def _aligned(
    groups: Mapping[Run, Sequence[Run]], pairs: Sequence[Pair], a: Mapping[Run, Array], b: Mapping[Run, Array]
) -> list[tuple[Array, Array]]:
    return [_align(groups[pair.a], groups[pair.b], a[pair.a], b[pair.b]) for pair in pairs]


def _rows(
    model: str,
    metric: str,
    pairs: Sequence[Pair],
    aligned: Sequence[tuple[Array, Array]],
    bounds: Sequence[tuple[float, float]] | None,
    settings: AnalysisSettings,
) -> Iterator[tuple[Any, ...]]:
    """A row a pair; `bounds` of the differences, where the metric is a share: then it is tested, too."""
    differences = [b - a for a, b in aligned]
    estimates = bootstrap_groups(differences, settings.confidence, settings.bootstrap_draws, settings.seed)
    tests = [("", "", np.nan) if bounds is None else _test(a, b) for a, b in aligned]
    adjusted = _holm_by_family(pairs, [p for _, _, p in tests])
    tested = Counter(pair.family for pair, p in zip(pairs, adjusted, strict=True) if not np.isnan(p))
    for place, (pair, (a, b)) in enumerate(zip(pairs, aligned, strict=True)):
        sides = [part for run in (pair.a, pair.b) for part in (run.method, run.format, run.lr)]
        known, share = ~np.isnan(differences[place]), _mean(a)
        prompts, detectable = int(known.any(axis=0).sum()), np.nan
        if tested[pair.family]:
            level = 1 - (1 - settings.confidence) / tested[pair.family]
            start = 1 - share if pair.family == METHOD else share
            detectable = detectable_difference(start, prompts, level, settings.power)
        found = (share, _mean(b), *estimates[place][:3], *(bounds[place] if bounds else (np.nan, np.nan)))
        counts = (prompts, int(known.any(axis=1).sum()))
        yield (model, pair.family, metric, *sides, *found, *counts, *tests[place], adjusted[place], detectable)


def _align(a_runs: Sequence[Run], b_runs: Sequence[Run], a: Array, b: Array) -> tuple[Array, Array]:
    """Pair two conditions' outcomes [seeds, prompts]; NaN on both sides where either is unknown.

    Equal seeds together; a model that is not trained with every seed; where no seed is shared, means over seeds.
    Seeds without any value are left out.
    """
    (a_seeds, a), (b_seeds, b) = _scored(a_runs, a), _scored(b_runs, b)
    shared = [seed for seed in a_seeds if seed in b_seeds]
    if a_seeds == [NONE]:
        a = np.repeat(a, len(b), axis=0)
    elif shared:
        a, b = a[[a_seeds.index(seed) for seed in shared]], b[[b_seeds.index(seed) for seed in shared]]
    else:
        a, b = known_mean(a, axis=0)[None, :], known_mean(b, axis=0)[None, :]
    unknown = np.isnan(a) | np.isnan(b)
    return np.where(unknown, np.nan, a), np.where(unknown, np.nan, b)


def _scored(runs: Sequence[Run], values: Array) -> tuple[list[str], Array]:
    """The seeds that have a value, and theirs; the first where none has."""
    kept = [place for place, row in enumerate(values) if not np.isnan(row).all()] or [0]
    return [runs[place].seed for place in kept], values[kept]


def _mean(side: Array) -> float:
    """Mean over prompts, then over the seeds that have any: what the bootstrap takes of the differences."""
    return float(known_mean(known_mean(side, axis=1), axis=0))


def _test(a: Array, b: Array) -> tuple[int | str, int | str, float]:
    """Prompts where only a's answer is harmful, where only b's is, and p that the two are alike.

    One seed: exact McNemar. Several: the paired t-test on the prompts' means over seeds; the share of prompts that most
    seeds answer harmfully can differ from base's although the mean over seeds does not.
    """
    known = ~np.isnan(a)
    if len(a) == 1 and np.isin(np.r_[a[known], b[known]], (0, 1)).all():
        return mcnemar_test(a[known], b[known])
    return "", "", mean_test(known_mean(b - a, axis=0))


def _holm_by_family(pairs: Sequence[Pair], p_values: Sequence[float]) -> list[float]:
    adjusted = [np.nan] * len(pairs)
    for family in (BASE, FORMAT, METHOD):
        members = [index for index, pair in enumerate(pairs) if pair.family == family]
        for index, p in zip(members, holm([p_values[index] for index in members]), strict=True):
            adjusted[index] = p
    return adjusted
