"""Paired comparisons over shared prompts: format against format, method against method, each against base."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import t as t_distribution

from formsafe.analysis.crossed import Side
from formsafe.analysis.inference import Result, comparable, estimate
from formsafe.analysis.metrics import Metric, at_least, clusters_of, outcomes
from formsafe.analysis.roster import ALL_SEEDS, Names, conditions_of
from formsafe.analysis.score_table import HARMFUL, TASK, Scores
from formsafe.analysis.statistics import detectable_difference, holm, known_mean
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.records import Run

BASE, FORMAT, METHOD = "base", "format", "method"
MEANS = ("rouge_l", "sbert", "rouge_l_neutral", "sbert_neutral")


@dataclass(frozen=True)
class Comparison:
    """A row of comparisons.csv: condition b minus condition a, over the prompts that both have a value of.

    Attributes:
        family: `base`, `format` or `method`: what the pair differs in.
        upper: one-sided upper bound of the difference, at the level of the interval.
        bound_low: the difference if every unscored answer of a were harmful and none of b's; `bound_high`: the reverse.
        n: prompts.
        trainings: the fewest of a trained side.
        only_a: prompts where only a's answer is harmful, at one training a side; `only_b`: only b's.
        p_holm: p after Holm's correction for `together` comparisons: of one family and metric, between methods of the
            same roles, extra learning rates apart.
        detectable: smallest difference found with the power of the configuration at the level of Holm's first step.
        discordance: share of discordant pairs at that difference (exact McNemar test).
    """

    model: str
    family: str
    metric: str
    a_method: str
    a_format: str
    a_lr: str
    a_examples: str
    b_method: str
    b_format: str
    b_lr: str
    b_examples: str
    a: float
    b: float
    difference: float
    ci_low: float
    ci_high: float
    upper: float
    bound_low: float
    bound_high: float
    n: int
    trainings: int
    only_a: float
    only_b: float
    test: str
    p: float
    p_holm: float
    together: int
    detectable: float
    discordance: float

    def side(self, name: str) -> Run:
        """Condition `a` or `b`."""
        cells = {field: getattr(self, f"{name}_{field}") for field in ("method", "format", "lr", "examples")}
        return Run(self.model, seed=ALL_SEEDS, **cells)

    @property
    def key(self) -> str:
        """Short name, unique within a family and metric."""
        return f"{self.side('b').condition}-against-{self.side('a').condition}"


@dataclass(frozen=True)
class Pair:
    """What is compared: b against a, one question (`family`) at a time."""

    family: str
    a: Run
    b: Run


def pairs_of(conditions: Sequence[Run], names: Names) -> list[Pair]:
    """All comparisons among the conditions of one model.

    Against base: every trained condition. Formats: within a method, rate and number of examples. Methods: within a
    format and number of examples, at the same rate, or at any rate where one of the two ran at a single one, and
    between plain fine-tuning and the method that drops its soft prompt (table 2: which rates give the same quality);
    plain fine-tuning is a, whatever order the configuration names them in.
    """
    bases = [run for run in conditions if names.is_base(run)]
    trained = [run for run in conditions if not names.is_base(run)]
    rates: dict[tuple[str, str], set[str]] = {}
    for run in trained:
        rates.setdefault((run.method, run.format), set()).add(run.lr)
    found = [Pair(BASE, base, run) for base in bases for run in trained]
    for a, b in combinations(trained, 2):
        if a.examples != b.examples:
            continue
        if a.method == b.method and a.lr == b.lr and a.format != b.format:
            found.append(Pair(FORMAT, a, b))
        if a.method != b.method and a.format == b.format:
            turned = names.is_separated(a.method) and names.is_plain(b.method)
            single = min(len(rates[a.method, a.format]), len(rates[b.method, b.format])) == 1
            if a.lr == b.lr or single or turned or (names.is_plain(a.method) and names.is_separated(b.method)):
                found.append(Pair(METHOD, b, a) if turned else Pair(METHOD, a, b))
    return sorted(found, key=lambda pair: (BASE, FORMAT, METHOD).index(pair.family))


@dataclass(frozen=True)
class Thresholds:
    """Judge scores from which an answer is harmful: the study's, and others at which the ASR is given beside it."""

    main: int
    more: tuple[int, ...] = ()


@dataclass(frozen=True)
class Study:
    """What all comparisons are made from.

    Args:
        scores: all values.
        runs: the runs that are there.
        names: roles of methods.
        thresholds: judge scores from here on are harmful.
        settings: intervals and tests.
    """

    scores: Scores
    runs: Sequence[Run]
    names: Names
    thresholds: Thresholds
    settings: AnalysisSettings

    def side(self, metric: Metric, condition: Run, weight: float = 1.0, reference: str | None = None) -> Side:
        """Outcomes [trainings, prompts] of a condition; `reference`: format of the task's reference texts."""
        values = [outcomes(self.scores, metric, run, reference) for run in conditions_of(self.runs)[condition]]
        return Side(np.stack(values), weight, fixed=not self.names.is_trained(condition))


def compare(study: Study) -> list[Comparison]:
    """All comparisons: of the ASR at the study's threshold and at 5, as most others count, and of the task scores."""
    conditions, found = list(conditions_of(study.runs)), []
    for model in dict.fromkeys(run.model for run in conditions):
        pairs = pairs_of([run for run in conditions if run.model == model], study.names)
        levels = {"asr": study.thresholds.main} | ({"asr_5": 5} if 5 in study.thresholds.more else {})
        for name, level in levels.items():
            found += _compare_metric(study, model, pairs, Metric(name, HARMFUL, "score", at_least(level)), level)
        for name in MEANS:
            found += _compare_metric(study, model, pairs, Metric(name, TASK, name, share=False))
    return found


def _compare_metric(
    study: Study, model: str, pairs: Sequence[Pair], metric: Metric, level: int | None = None
) -> list[Comparison]:
    clusters, confidence = clusters_of(study.scores, metric.prompts), study.settings.confidence
    measured: list[tuple[list[Side], Result]] = []
    for pair in pairs:
        # The base model was trained in no format: its answers are scored against the reference of b's.
        reference = pair.b.format if study.names.is_base(pair.a) else None
        sides = [study.side(metric, pair.a, -1.0, reference), study.side(metric, pair.b)]
        measured.append((sides, estimate(sides, confidence, metric.share, clusters)))
    groups, found = [_group(study.names, pair) for pair in pairs], []
    adjusted, counts = holm_by_group(groups, [result.p for _, result in measured])
    for pair, (sides, result), group, p_holm in zip(pairs, measured, groups, adjusted, strict=True):
        row: dict[str, Any] = {"model": model, "family": pair.family, "metric": metric.name}
        row |= _named("a", pair.a) | _named("b", pair.b) | dict(zip("ab", _means(sides), strict=True))
        row |= {"difference": result.value, "ci_low": result.low, "ci_high": result.high, "n": result.prompts}
        # A one-sided limit at `confidence` is the end of a two-sided interval at 2 * confidence - 1.
        row["upper"] = estimate(sides, 2 * confidence - 1, metric.share, clusters).high
        row["bound_low"], row["bound_high"] = _bounds(study, pair, level)
        row["only_a"], row["only_b"] = result.discordant
        row |= {"trainings": result.trainings, "test": result.test, "p": result.p, "p_holm": p_holm}
        limits = detectable(result, row["a"], pair.family == METHOD, study.settings, counts[group])
        row["together"], row["detectable"], row["discordance"] = counts[group], *limits
        found.append(Comparison(**row))
    return found


def _named(side: str, run: Run) -> dict[str, str]:
    return {f"{side}_{name}": run.fields[name] for name in ("method", "format", "lr", "examples")}


def _means(sides: Sequence[Side]) -> tuple[float, ...]:
    shared, _ = comparable(sides, None)
    return tuple(float(known_mean(known_mean(side.values, -1), -1)) for side in shared)


def _bounds(study: Study, pair: Pair, level: int | None) -> tuple[float, float]:
    """The difference of the ASR with every unscored answer counted for one side, then for the other."""
    if level is None:
        return np.nan, np.nan
    best, worst = (Metric("asr", HARMFUL, "score", at_least(level, unscored=value)) for value in (0.0, 1.0))
    least = _means([study.side(worst, pair.a), study.side(best, pair.b)])
    most = _means([study.side(best, pair.a), study.side(worst, pair.b)])
    return least[1] - least[0], most[1] - most[0]


def _group(names: Names, pair: Pair) -> tuple[Any, ...]:
    """What is corrected together: one family between methods of the same roles, extra learning rates apart."""
    main = set(names.main_conditions(pair.a.model))
    extra = any(run not in main and not names.is_base(run) for run in (pair.a, pair.b))
    return pair.family, names.role(pair.a.method), names.role(pair.b.method), extra


def holm_by_group(groups: Sequence[Any], p_values: Sequence[float]) -> tuple[list[float], Counter[Any]]:
    """Holm's correction within each group, and how many known p each has."""
    adjusted = np.full(len(groups), np.nan)
    for group in set(groups):
        members = [place for place, each in enumerate(groups) if each == group]
        adjusted[members] = holm([p_values[place] for place in members])
    known = [group for group, p in zip(groups, p_values, strict=True) if not np.isnan(p)]
    return [float(p) for p in adjusted], Counter(known)


def detectable(
    result: Result, share: float, is_fall: bool, settings: AnalysisSettings, together: int
) -> tuple[float, float]:
    """Smallest difference that would be found, and the discordance that it assumes.

    One training: power of the exact McNemar test, assuming that as many prompts change in the opposite direction as
    were observed. Several trainings, or means: the standard error of the t interval.
    """
    if not together or not result.prompts:
        return np.nan, np.nan
    level = (1 - settings.confidence) / together
    if result.table is not None:
        against = (result.table.only_b if is_fall else result.table.only_a) / result.prompts
        room = (share if is_fall else 1 - share) - against
        found = detectable_difference(against, room, result.prompts, level, settings.power)
        return found, found + 2 * against
    quantiles = t_distribution.ppf([1 - level / 2, settings.power], result.freedom)
    found = float(quantiles.sum() * result.error)
    return found if found <= 1 else np.nan, np.nan
