"""What lm-eval measured, as metrics of the summary."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.special import ndtri, stdtrit

from formsafe.analysis.estimates import Estimate
from formsafe.core.files import read_json
from formsafe.core.layout import run_of
from formsafe.core.records import Run

PREFIX = "capability: "
Abilities = dict[Run, dict[str, Estimate]]


def read_abilities(paths: Iterable[str | Path], confidence: float) -> Abilities:
    """Metrics by run, each with the normal interval of lm-eval's standard error, open where it gives none.

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
