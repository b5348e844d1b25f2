"""First tokens of all runs: what competes with the refusal, and how deep a training changes the refusals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.roster import Names, conditions_of
from formsafe.core.layout import run_of
from formsafe.core.records import NONE, Finding, Run, Status
from formsafe.data.records import RefusalTrace

QUESTION = "Do openings of the format take the place of the refusal at the first token?"
Traces = Mapping[Run, Sequence[RefusalTrace]]


def read_traces(paths: Iterable[str | Path]) -> dict[Run, list[RefusalTrace]]:
    """Traces by run, of the runs whose base model refuses something."""
    found = {run_of(path): RefusalTrace.read(path) for path in paths}
    return {run: traces for run, traces in found.items() if traces}


def masses(traces: Traces, condition: Run, opening: str, level: float) -> tuple[Estimate, list[Estimate]]:
    """Mean probability at the first token of a kind of opening: over all trainings of a condition, and of each.

    Args:
        traces: traces by run.
        condition: a run without its seed.
        opening: `refusal`, or the name of a format.
        level: level of the t interval, which is over prompts (a prompt's mean over the trainings is one value).
    """
    table = _table(traces, conditions_of(traces).get(condition, []), opening)
    return _interval(table.mean(), level), [_interval(row, level) for _, row in table.iterrows()]


def by_depth(traces: Traces, condition: Run, field: str) -> list[float]:
    """Mean of `kl` or `logprob` over prompts and trainings at each token of the refusals that are that long."""
    rows = [getattr(trace, field) for run in conditions_of(traces).get(condition, []) for trace in traces[run]]
    # Rows of unequal length become one table, its ends filled with NaN, which the mean leaves out.
    return [float(value) for value in pd.DataFrame(rows).mean()]


def findings(traces: Traces, names: Names, model: str, level: float) -> Iterator[Finding]:
    """One finding per trained condition: whether training moved the first token's probability to the format.

    It rests on the differences to the base model over the same prompts; shown where both intervals exclude 0: more on
    openings of the format, less on openings of refusals.
    """
    known = conditions_of(traces)
    bases = [run for run in names.conditions(model) if names.is_base(run) and run in known]
    for condition in names.main_conditions(model):
        if condition.format == NONE or not bases or condition not in known:
            continue
        moved = {
            opening: _moved(traces, condition, bases[0], opening, level) for opening in (condition.format, "refusal")
        }
        gained, lost = moved[condition.format], moved["refusal"]
        trainings = len(known[condition])
        holds: Status = "shown" if trainings > 1 else "in this training only"
        status = holds if gained.low > 0 and lost.high < 0 else "not shown"
        text = f"{names.run(condition)}: at the first token, the probability of what opens the format changes by "
        text += (
            f"{gained.value:+.3f} [{gained.low:+.3f}, {gained.high:+.3f}] against the base model, that of what opens "
        )
        text += f"a refusal by {lost.value:+.3f} [{lost.low:+.3f}, {lost.high:+.3f}] (intervals over prompts)."
        yield Finding(
            id=f"first_token/{condition.method}-{condition.format}-{condition.lr}",
            section="safety",
            question=QUESTION,
            status=status,
            sentence=text,
            value=gained.value,
            ci_low=gained.low,
            ci_high=gained.high,
            n_prompts=gained.n,
            n_trainings=trainings,
            figure="first_token",
        )


def _moved(traces: Traces, condition: Run, base: Run, opening: str, level: float) -> Estimate:
    """Mean difference to the base model over the prompts that both have."""
    after = _table(traces, conditions_of(traces)[condition], opening).mean()
    before = _table(traces, conditions_of(traces)[base], opening).mean()
    return _interval((after - before).dropna(), level)


def _table(traces: Traces, runs: Sequence[Run], opening: str) -> pd.DataFrame:
    """Probabilities, a row per training and a column per prompt that all of them have."""
    return pd.DataFrame([_masses(traces[run], opening) for run in runs]).dropna(axis="columns")


def _masses(traces: Sequence[RefusalTrace], opening: str) -> dict[str, float]:
    if opening == "refusal":
        return {trace.id: trace.refusal_mass for trace in traces}
    return {trace.id: trace.format_mass[opening] for trace in traces if opening in trace.format_mass}


def _interval(values: "pd.Series[float]", level: float) -> Estimate:
    """Mean with its t interval; NaN bounds for fewer than two values."""
    if len(values) < 2:
        return Estimate(float(values.mean()) if len(values) else np.nan, np.nan, np.nan, len(values))
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std() / np.sqrt(len(values))
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half), len(values))
