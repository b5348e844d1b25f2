"""Judges side by side: ASR by judge, agreement, calibration by people, and which differences survive another judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import norm

from formsafe.analysis.calibration import (
    COLUMNS,
    Labelled,
    Row,
    condition_name,
    confounded_rows,
    corrected_rows,
    difference_rows,
    judge_rows,
    majority,
)
from formsafe.analysis.comparisons import pairs_of
from formsafe.analysis.roster import Names
from formsafe.analysis.score_table import write_csv
from formsafe.analysis.statistics import Array, kappa
from formsafe.core.files import read_jsonl
from formsafe.core.layout import partitions, run_of
from formsafe.core.records import Run
from formsafe.scoring.labels import Drawn, read_key, read_raters

NAN = float("nan")
Verdicts = Mapping[str, Mapping[Run, Mapping[str, float]]]


@dataclass(frozen=True)
class JudgesStudy:
    """What is compared.

    Args:
        thresholds: the score from which an answer is harmful, by judge; the headline judge is the first.
        names: labels and roles of the runs.
        confidence: level of all intervals.
        fewest: labels that a condition needs for a correction of its own.
        seed: of the permutation tests.
    """

    thresholds: Mapping[str, int]
    names: Names
    confidence: float
    fewest: int
    seed: int


def write_judges(
    study: JudgesStudy, scores: Sequence[str], key: str | None, labels: Sequence[str], output: str
) -> None:
    """Write judges.csv.

    Args:
        study: judges, runs and settings.
        scores: `scores.jsonl` of all runs and judges; the paths name both.
        key: the sample that people labelled; None without labels.
        labels: the raters' files.
        output: file to write.
    """
    verdicts = read_verdicts(scores, study.thresholds)
    rows = [*agreement_rows(verdicts, study.confidence), *survival_rows(verdicts, study)]
    drawn = [] if key is None else read_key(key)
    raters = read_raters(labels, drawn) if key is not None else {}
    rows += rater_rows(raters, study.confidence)
    given = majority(raters)
    judges = {judge: labelled(found, drawn, given) for judge, found in verdicts.items()} if given else {}
    for judge, found in verdicts.items():
        of = judges.get(judge, labelled(found, [], {}))
        asr = list(
            corrected_rows(judge, of, {run: values(row) for run, row in found.items()}, study.confidence, study.fewest)
        )
        rows += asr if given else [row for row in asr if row[1] == "asr_judged"]
        rows += judge_rows(judge, of, study.confidence) if given else []
        for model in dict.fromkeys(run.model for run in study.names.planned):
            for base in study.names.bases(model):
                conditions = [condition_name(run) for run in study.names.conditions(model)]
                rows += difference_rows(
                    asr, condition_name(base), [name for name in conditions if name != condition_name(base)]
                )
    rows += confounded_rows(judges, study.seed)
    write_csv(output, COLUMNS, rows)


def read_verdicts(paths: Sequence[str], thresholds: Mapping[str, int]) -> Verdicts:
    """1 harmful, 0 not, NaN unscored: by judge, run and prompt."""
    found: dict[str, dict[Run, dict[str, float]]] = {judge: {} for judge in thresholds}
    for path in paths:
        judge = partitions(path)["judge"]
        found[judge][run_of(path)] = {
            row["id"]: NAN if row["score"] is None else float(row["score"] >= thresholds[judge])
            for row in read_jsonl(path)
        }
    return found


def values(row: Mapping[str, float]) -> Array:
    """A run's verdicts [n] in the order of ids."""
    return np.array([row[name] for name in sorted(row)], dtype=float)


def labelled(found: Mapping[Run, Mapping[str, float]], drawn: Sequence[Drawn], given: Mapping[str, float]) -> Labelled:
    """A judge's verdicts beside people's labels."""
    keys = [key for key in drawn if key.label_id in given]
    verdicts = [found.get(key.run, {}).get(key.id, NAN) for key in keys]
    weights = [1 / key.probability for key in keys]
    labels = [given[key.label_id] for key in keys]
    return Labelled(np.array(labels, dtype=float), np.array(verdicts, dtype=float), np.array(weights), keys)


def agreement_rows(verdicts: Verdicts, confidence: float) -> Iterator[Row]:
    """Cohen's kappa of each pair of judges, and Krippendorff's alpha (nominal) of all, over all answers."""
    table = answer_table(verdicts)
    yield from _agreement(table, "all judges", confidence)


def rater_rows(raters: Mapping[str, Mapping[str, float | None]], confidence: float) -> Iterator[Row]:
    """The same of the people who labelled."""
    if len(raters) > 1:
        names = sorted(set().union(*raters.values()))
        given = {
            rater: {name: label for name, label in found.items() if label is not None}
            for rater, found in raters.items()
        }
        columns = {f"rater {rater}": np.array([_in_order(found, names)]) for rater, found in given.items()}
        yield from _agreement(columns, "all raters", confidence)


def answer_table(verdicts: Verdicts) -> dict[str, Array]:
    """Each judge's verdicts [runs, prompts], runs and prompts in the same order for all."""
    found = list(verdicts.values())
    runs = list(dict.fromkeys(run for rows in found for run in rows))
    ids = sorted({name for rows in found for row in rows.values() for name in row})
    return {
        judge: np.array([_in_order(rows.get(run, {}), ids) for run in runs], dtype=float)
        for judge, rows in verdicts.items()
    }


def _in_order(row: Mapping[str, float], ids: Sequence[str]) -> list[float]:
    return [row.get(name, NAN) for name in ids]


def _agreement(columns: Mapping[str, Array], everybody: str, confidence: float) -> Iterator[Row]:
    import krippendorff

    for a, b in combinations(columns, 2):
        found = kappa(columns[a], columns[b], confidence)
        yield (f"{a} | {b}", "kappa", "all", found.value, found.low, found.high, found.n, NAN, NAN, "")
    data = np.stack([column.ravel() for column in columns.values()]) if columns else np.empty((0, 0))
    rated = data[:, (~np.isnan(data)).sum(axis=0) > 1] if data.size else data
    if rated.size and len(np.unique(rated[~np.isnan(rated)])) > 1:  # alpha is not defined for one value only
        alpha = float(krippendorff.alpha(reliability_data=rated, level_of_measurement="nominal"))
        yield (everybody, "alpha", "all", alpha, NAN, NAN, rated.shape[1], NAN, NAN, "")


def survival_rows(verdicts: Verdicts, study: JudgesStudy) -> Iterator[Row]:
    """Each comparison of the study by every judge, and whether all judges say the same of it.

    A judge says `rises` or `falls` where the interval of the paired difference leaves 0 out, else `not shown`.
    """
    for model in dict.fromkeys(run.model for run in study.names.planned):
        for pair in pairs_of(study.names.conditions(model), study.names):
            name = f"{condition_name(pair.b)} - {condition_name(pair.a)}"
            said = {}
            for judge, found in verdicts.items():
                value, half, n = _difference(found, pair.a, pair.b, study.confidence)
                if n:
                    said[judge] = "rises" if value > half else "falls" if value < -half else "not shown"
                    yield (
                        judge,
                        f"difference ({pair.family})",
                        name,
                        value,
                        value - half,
                        value + half,
                        n,
                        NAN,
                        NAN,
                        said[judge],
                    )
            if len(said) > 1:
                same = len(set(said.values())) == 1
                note = ", ".join(f"{judge}: {word}" for judge, word in said.items())
                yield (
                    "all judges",
                    f"survives ({pair.family})",
                    name,
                    float(same),
                    NAN,
                    NAN,
                    len(said),
                    NAN,
                    NAN,
                    note,
                )


def _difference(
    found: Mapping[Run, Mapping[str, float]], a: Run, b: Run, confidence: float
) -> tuple[float, float, int]:
    """Mean paired difference b - a of two conditions, half its normal interval, and the number of shared prompts."""
    sides = []
    for condition in (a, b):
        rows = [row for run, row in found.items() if condition_name(run) == condition_name(condition)]
        names = set().union(*rows) if rows else set()
        sides.append({name: _mean([row[name] for row in rows if name in row]) for name in names})
    shared = [sides[1][name] - sides[0][name] for name in sorted(sides[0].keys() & sides[1].keys())]
    known = np.array(shared, dtype=float)
    known = known[~np.isnan(known)]
    if known.size < 2:
        return NAN, NAN, 0
    half = float(norm.ppf(0.5 + confidence / 2) * known.std(ddof=1) / np.sqrt(known.size))
    return float(known.mean()), half, known.size


def _mean(found: Sequence[float]) -> float:
    known = [value for value in found if value == value]
    return sum(known) / len(known) if known else NAN
