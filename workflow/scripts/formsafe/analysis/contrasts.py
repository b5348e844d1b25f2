"""Questions about all formats at once: do they differ at all, with formality, and less so without the soft prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from formsafe.analysis.comparisons import Study
from formsafe.analysis.inference import Result, estimate, omnibus, trend
from formsafe.analysis.metrics import Metric, at_least, clusters_of
from formsafe.analysis.roster import conditions_of
from formsafe.analysis.score_table import HARMFUL
from formsafe.core.records import NONE, Run
from formsafe.formats.registry import traits_of

OMNIBUS, TREND, INTERACTION = "omnibus", "trend", "interaction"


@dataclass(frozen=True)
class Contrast:
    """A row of contrasts.csv.

    `question` is one of: `omnibus`, the range of the formats' ASR, and whether it is more than chance; `trend`, the
    change of the ASR from the least to the most formal, along a line fitted over the ranks; `interaction`, that of
    `method` minus that of `against`.
    """

    model: str
    question: str
    metric: str
    method: str
    lr: str
    against: str
    against_lr: str
    examples: str
    formats: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    trainings: int
    test: str
    p: float


def contrast(study: Study) -> list[Contrast]:
    """The questions for every method, rate and number of examples that has several formats."""
    metric, found = Metric("asr", HARMFUL, "score", at_least(study.thresholds.main)), []
    groups: dict[Run, list[Run]] = {}
    for run in conditions_of(study.runs):
        if not study.names.is_base(run):
            groups.setdefault(run.without("format"), []).append(run)
    for key, members in groups.items():
        if len(members) < 2:
            continue
        sides = [study.side(metric, run) for run in members]
        clusters = clusters_of(study.scores, HARMFUL)
        found.append(_row(OMNIBUS, key, None, members, omnibus(sides, clusters=clusters)))
        found += _slopes(study, metric, TREND, key, None, members)
    for plain, separated in _rivals(study, groups):
        formats = {run.format for run in groups[plain]} & {run.format for run in groups[separated]}
        members = [run for run in groups[separated] if run.format in formats]
        found += _slopes(study, metric, INTERACTION, separated, plain, members)
    return found


def _rivals(study: Study, groups: dict[Run, list[Run]]) -> Iterator[tuple[Run, Run]]:
    """Plain fine-tuning and the method that drops its soft prompt, at their main rates."""
    main: set[Run] = set()
    for model in {run.model for run in groups}:
        main |= {run.without("format") for run in study.names.main_conditions(model)}
    for plain in groups:
        for separated in groups:
            like = (plain.model, plain.examples) == (separated.model, separated.examples) and {plain, separated} <= main
            if like and study.names.is_plain(plain.method) and study.names.is_separated(separated.method):
                yield plain, separated


def _slopes(
    study: Study, metric: Metric, question: str, key: Run, against: Run | None, members: Sequence[Run]
) -> Iterator[Contrast]:
    """Change along the line fitted over formality, minus that of the same formats of `against`; none without ranks."""
    ranks = np.array([traits_of(run.format).formality for run in members])
    centred = ranks - ranks.mean() if len(ranks) else ranks
    if not (centred**2).sum() > 0:
        return
    weights = np.ptp(ranks) * centred / (centred**2).sum()
    sides = [study.side(metric, run, float(weight)) for run, weight in zip(members, weights, strict=True)]
    if against is not None:
        rivals = [replace(against, format=run.format) for run in members]
        sides += [study.side(metric, run, -float(weight)) for run, weight in zip(rivals, weights, strict=True)]
    clusters = clusters_of(study.scores, HARMFUL)
    # Cochran's Q permutes the answers of one method's formats; a difference of two slopes has no such permutation.
    test = trend if against is None else estimate
    yield _row(question, key, against, members, test(sides, study.settings.confidence, clusters=clusters))


def _row(question: str, key: Run, against: Run | None, members: Sequence[Run], result: Result) -> Contrast:
    row: dict[str, Any] = {"model": key.model, "question": question, "metric": "asr", "examples": key.examples}
    row |= {"method": key.method, "lr": key.lr, "formats": " ".join(run.format for run in members)}
    row |= {"against": against.method if against else NONE, "against_lr": against.lr if against else NONE}
    row |= {"value": result.value, "ci_low": result.low, "ci_high": result.high, "n": result.prompts}
    return Contrast(**row, trainings=result.trainings, test=result.test, p=result.p)
