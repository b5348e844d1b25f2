"""The summary: every metric of every run with its interval, and over trainings where a condition has several."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from formsafe.analysis.comparisons import Comparison, Study, Thresholds, compare
from formsafe.analysis.contrasts import Contrast, contrast
from formsafe.analysis.crossed import Side
from formsafe.analysis.estimates import SUMMARY_COLUMNS, Estimate
from formsafe.analysis.inference import estimate
from formsafe.analysis.metrics import Metric, applies, at_least, clusters_of, metrics_of, outcomes
from formsafe.analysis.roster import Names, conditions_of
from formsafe.analysis.score_table import HARMFUL, Array, read_scores, records_table, write_table
from formsafe.analysis.statistics import kappa, known_mean
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.files import read_json
from formsafe.core.layout import run_of
from formsafe.core.records import Run

KAPPA = "judge_refusal_kappa"
PREFIX = "capability: "  # of the metrics that lm-eval measured
Abilities = dict[Run, dict[str, Estimate]]
Files = Mapping[str, Sequence[str]]


def summarise(
    files: Files, outputs: Mapping[str, str], names: Names, thresholds: Thresholds, settings: AnalysisSettings
) -> None:
    """Write scores.csv, summary.csv, comparisons.csv and contrasts.csv of a study.

    Args:
        files: paths under `scores`, `task` and `harmful` (and `capability`, if measured), one per run, in any order:
            the paths name the runs; under `prompts` the harmful prompts, among which near-duplicates are found
            (optional).
        outputs: paths under `scores`, `summary`, `comparisons` and `contrasts`.
        names: labels and roles of the planned runs.
        thresholds: judge scores from here on are harmful.
        settings: intervals and tests.
    """
    there = [run for run in names.planned if run not in names.missing]
    scores = read_scores(files)
    study = Study(scores, there, names, thresholds, settings)
    write_table(outputs["scores"], scores.table(there))
    abilities = read_abilities(files.get("capability", []), settings.confidence)
    write_table(outputs["summary"], summary_table(study, abilities))
    write_table(outputs["comparisons"], records_table(compare(study), Comparison))
    write_table(outputs["contrasts"], records_table(contrast(study), Contrast))


def summary_table(study: Study, abilities: Abilities) -> pd.DataFrame:
    """The summary: runs in their order with their metrics; several trainings of a condition add one run `all`."""
    scores, found = study.scores, []
    metrics = metrics_of(scores, study.thresholds.main, study.thresholds.more)
    for condition, trainings in conditions_of(study.runs).items():
        groups = [(run, [run]) for run in trainings] + ([(condition, trainings)] if len(trainings) > 1 else [])
        for (key, runs), metric in product(groups, [*metrics, None]):
            name, result = _estimate(study, runs, metric)
            if result is not None:
                found.append([*key.fields.values(), name, *result])
        for key, runs in groups:
            measured = over_trainings(abilities, runs, study.settings.confidence)
            found += [[*key.fields.values(), name, *result] for name, result in measured.items()]
    return pd.DataFrame(found, columns=list(SUMMARY_COLUMNS))


def _estimate(study: Study, runs: Sequence[Run], metric: Metric | None) -> tuple[str, Estimate | None]:
    """A metric of one training or of several; without a metric the judge's agreement with refusal keywords."""
    scores = study.scores
    if metric is None:
        refusals = [scores.values(HARMFUL, "refusal", run)[0] for run in runs]
        return KAPPA, None if np.isnan(refusals).all() else _judge_refusal_kappa(study, runs)
    runs = [run for run in runs if applies(scores, metric, run)]
    if not runs:
        return metric.name, None
    values = np.stack([outcomes(scores, metric, run) for run in runs])
    clusters = clusters_of(scores, metric.prompts)
    found = estimate([Side(values)], study.settings.confidence, metric.share, clusters)
    means = known_mean(values, 1)
    means = means[~np.isnan(means)]
    scatter = float(means.std(ddof=1)) if len(means) > 1 else np.nan
    answers = int((~np.isnan(values)).sum())
    return metric.name, Estimate(found.value, found.low, found.high, answers, max(1, len(means)), scatter)


def _judge_refusal_kappa(study: Study, runs: Sequence[Run]) -> Estimate:
    """Agreement of the judge (harmless) with refusals found by keywords, over the answers of all `runs`."""

    def rows(field: str) -> Array:
        return np.stack([study.scores.values(HARMFUL, field, run)[0] for run in runs])

    harmless = 1 - at_least(study.thresholds.main)(rows("score"))
    return kappa(harmless, rows("refusal"), study.settings.confidence)._replace(trainings=len(runs))


def read_abilities(paths: Iterable[str], confidence: float) -> Abilities:
    """What lm-eval measured: metrics by run, each with the normal interval of lm-eval's standard error, open where it
    gives none.

    Args:
        paths: the runs' `capability.json`.
        confidence: level of the intervals.
    """
    critical = float(ndtri((1 + confidence) / 2))
    found: Abilities = {}
    for path in paths:
        metrics = found.setdefault(run_of(path), {})
        for row in read_json(path)["abilities"]:
            value, error = row["value"], math.nan if row["stderr"] is None else row["stderr"]
            name = f"{PREFIX}{row['task']} {row['metric']}"
            metrics[name] = Estimate(value, value - critical * error, value + critical * error, row["n"])
    return found


def over_trainings(abilities: Abilities, runs: Iterable[Run], confidence: float) -> dict[str, Estimate]:
    """Means over the trainings of a condition, with t intervals over trainings; of one training its own values."""
    known = [abilities[run] for run in runs if run in abilities]
    if len(known) < 2:
        return known[0] if known else {}
    found = {}
    for name in known[0]:
        values = np.array([metrics[name].value for metrics in known if name in metrics])
        scatter = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        reach = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * scatter / math.sqrt(len(values))
        mean, answers = float(values.mean()), sum(metrics[name].n for metrics in known if name in metrics)
        found[name] = Estimate(mean, mean - reach, mean + reach, answers, len(values), scatter)
    return found
