"""The summary: every metric of every run with its interval, and over seeds where a condition has several."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from formsafe.analysis.comparisons import COLUMNS as COMPARISON_COLUMNS
from formsafe.analysis.comparisons import compare
from formsafe.analysis.estimates import SUMMARY_COLUMNS, Estimate
from formsafe.analysis.metrics import Metric, applies, at_least, metrics_of, outcomes
from formsafe.analysis.roster import Names, conditions_of
from formsafe.analysis.score_table import HARMFUL, TASK, Scores, read_scores, write_csv, write_table
from formsafe.analysis.statistics import Array, bootstrap_groups, kappa, wilson
from formsafe.config.grid import Run
from formsafe.config.settings.analysis import AnalysisSettings

KAPPA = "judge_refusal_kappa"


def summarise(
    files: Mapping[str, Sequence[str]],
    outputs: Mapping[str, str],
    names: Names,
    threshold: int,
    settings: AnalysisSettings,
) -> None:
    """Write scores.csv, summary.csv and comparisons.csv of a study.

    Args:
        files: paths under `scores`, `task` and `harmful`, one a run, in any order: the paths name the runs.
        outputs: paths under `scores`, `summary` and `comparisons`.
        names: labels and roles of the planned runs.
        threshold: judge scores from here on are harmful.
        settings: intervals and tests.
    """
    there = [run for run in names.planned if run not in names.missing]
    scores = read_scores(files["scores"], files["task"], files["harmful"])
    write_table(outputs["scores"], scores.table(there))
    write_csv(outputs["summary"], SUMMARY_COLUMNS, summary_rows(scores, there, threshold, settings))
    rows = compare(scores, there, names, threshold, settings)
    write_csv(outputs["comparisons"], COMPARISON_COLUMNS, rows)


def summary_rows(
    scores: Scores, runs: Sequence[Run], threshold: int, settings: AnalysisSettings
) -> Iterator[tuple[Any, ...]]:
    """The summary's rows: runs in their order with their metrics; several seeds of a condition add one run `all`."""
    metrics = metrics_of(scores, threshold)
    conditions = conditions_of(runs)
    groups = {run: [run] for run in runs} | {name: group for name, group in conditions.items() if len(group) > 1}
    estimates = _estimates(scores, groups, metrics, settings)
    for key, group in groups.items():
        if any(scores.has(HARMFUL, "refusal", run) for run in group):
            estimates[key, KAPPA] = _judge_refusal_kappa(scores, group, threshold, settings.confidence)
    labels = [*(metric.name for metric in metrics), KAPPA]
    for condition, group in conditions.items():
        for run in (*group, condition):
            yield from (
                (*run.fields.values(), name, *estimates[run, name]) for name in labels if (run, name) in estimates
            )


def _estimates(
    scores: Scores, groups: Mapping[Run, Sequence[Run]], metrics: Sequence[Metric], settings: AnalysisSettings
) -> dict[tuple[Run, str], Estimate]:
    """Estimates of single runs and of conditions with several seeds: Wilson's for a run's shares, else bootstrap."""
    found: dict[tuple[Run, str], Estimate] = {}
    for prompts in (HARMFUL, TASK):
        ids = scores.ids(prompts)
        drawn: dict[tuple[Run, Metric], Array] = {}
        for (key, runs), metric in product(groups.items(), metrics):
            if metric.prompts != prompts:
                continue
            known = [outcomes(scores, metric, run, ids) for run in runs if applies(scores, metric, run)]
            if len(known) == 1 and metric.share:
                found[key, metric.name] = wilson(known[0], settings.confidence)
            elif known:
                drawn[key, metric] = np.stack(known)
        estimates = bootstrap_groups(list(drawn.values()), settings.confidence, settings.bootstrap_draws, settings.seed)
        for ((key, metric), group), estimate in zip(drawn.items(), estimates, strict=True):
            found[key, metric.name] = _not_certain(group, estimate, settings.confidence) if metric.share else estimate
    return found


def _judge_refusal_kappa(scores: Scores, runs: Sequence[Run], threshold: int, confidence: float) -> Estimate:
    """Agreement of the judge (harmless) with refusals found by keywords, over the answers of all `runs`."""
    ids = scores.ids(HARMFUL)
    judged = np.concatenate([scores.row(HARMFUL, "score", run, ids) for run in runs])
    refused = np.concatenate([scores.row(HARMFUL, "refusal", run, ids) for run in runs])
    return kappa(1 - at_least(threshold)(judged), refused, confidence)


def _not_certain(group: Array, estimate: Estimate, confidence: float) -> Estimate:
    """A share's bootstrap interval; Wilson's over the prompts where all draws are alike: 0 of n is not certainly 0."""
    if math.isnan(estimate.value) or estimate.low < estimate.high:
        return estimate
    scored = next(row for row in group if not np.isnan(row).all())
    prompts = wilson(scored, confidence)
    return Estimate(estimate.value, prompts.low, prompts.high, estimate.n)
