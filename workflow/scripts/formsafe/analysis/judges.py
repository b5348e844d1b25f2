"""Judges side by side: ASR by judge, agreement, calibration by people, and which differences survive another judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import norm

from formsafe.analysis import calibration
from formsafe.analysis.calibration import NAN, JudgeRow, judge_row
from formsafe.analysis.comparisons import pairs_of
from formsafe.analysis.estimates import Estimate
from formsafe.analysis.roster import Names
from formsafe.analysis.score_table import Array, records_table, write_table
from formsafe.analysis.statistics import kappa
from formsafe.core.files import read_jsonl
from formsafe.core.layout import partitions, run_of, run_path
from formsafe.core.records import Run, joined
from formsafe.scoring.labels import Drawn, read_key, read_raters


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
    raters = {} if key is None else read_raters(labels, drawn)
    if len(raters) > 1:
        table = pd.DataFrame(raters, dtype=float)
        rows += _agreement({f"rater {name}": table[name].to_numpy() for name in table}, "all raters", study.confidence)
    given = calibration.majority(raters)
    judges = {judge: labelled(found, drawn, given) for judge, found in verdicts.items()}
    for judge, found in verdicts.items():
        asr = list(calibration.corrected_rows(judge, judges[judge], found, study.confidence, study.fewest))
        rows += [row for row in asr if given or row.figure == "asr_judged"]
        rows += calibration.judge_rows(judge, judges[judge], study.confidence) if given else []
        for model in dict.fromkeys(run.model for run in study.names.planned):
            conditions = [condition_name(run) for run in study.names.conditions(model)]
            for base in map(condition_name, study.names.bases(model)):
                rows += calibration.difference_rows(asr, base, [name for name in conditions if name != base])
    rows += calibration.confounded_rows(judges, study.seed) if given else []
    write_table(output, records_table(rows, JudgeRow))


def condition_name(run: Run) -> str:
    """A condition in one cell: model, method, format, learning rate and number of examples, as far as it has them."""
    return joined((run.model, run.method, run.format, run.lr, run.examples), "/")


def read_verdicts(paths: Sequence[str], thresholds: Mapping[str, int]) -> dict[str, pd.DataFrame]:
    """A table per judge with the columns `run`, `condition`, `id` and `harmful` (1, 0, NaN without a score)."""
    rows: dict[str, list[tuple[str, str, str, float]]] = {judge: [] for judge in thresholds}
    for path in paths:
        judge, run = partitions(path)["judge"], run_of(path)
        for row in read_jsonl(path):
            harmful = NAN if row["score"] is None else float(row["score"] >= thresholds[judge])
            rows[judge].append((run_path(run), condition_name(run), row["id"], harmful))
    columns = ["run", "condition", "id", "harmful"]
    return {judge: pd.DataFrame(found, columns=columns).astype({"harmful": float}) for judge, found in rows.items()}


def labelled(verdicts: pd.DataFrame, drawn: Sequence[Drawn], given: Mapping[str, float]) -> pd.DataFrame:
    """A judge's verdicts beside people's labels, as `calibration` takes them.

    Args:
        verdicts: of the judge.
        drawn: the sample.
        given: people's labels by the ids of the sample.
    """
    said = verdicts.set_index(["run", "id"])["harmful"].to_dict()
    rows = []
    for key in (key for key in drawn if key.label_id in given):
        verdict = said.get((run_path(key.run), key.id), NAN)
        groups = (key.method, key.format, condition_name(key.run))
        rows.append((given[key.label_id], verdict, 1 / key.probability, *groups))
    return pd.DataFrame(rows, columns=["label", "verdict", "weight", "method", "format", "condition"])


def agreement_rows(verdicts: Mapping[str, pd.DataFrame], confidence: float) -> Iterator[JudgeRow]:
    """Cohen's kappa of each pair of judges, and Krippendorff's alpha (nominal) of all, over all answers."""
    every = pd.concat(verdicts.values())
    runs, ids = every["run"].unique(), sorted(every["id"].unique())
    tables = {judge: found.pivot(index="run", columns="id", values="harmful") for judge, found in verdicts.items()}
    columns = {judge: table.reindex(index=runs, columns=ids).to_numpy(float) for judge, table in tables.items()}
    yield from _agreement(columns, "all judges", confidence)


def _agreement(columns: Mapping[str, Array], everybody: str, confidence: float) -> Iterator[JudgeRow]:
    import krippendorff

    for a, b in combinations(columns, 2):
        yield judge_row(f"{a} | {b}", "kappa", "all", kappa(columns[a], columns[b], confidence))
    data = np.stack([column.ravel() for column in columns.values()])
    rated = data[:, (~np.isnan(data)).sum(axis=0) > 1]
    if len(np.unique(rated[~np.isnan(rated)])) > 1:  # alpha is not defined for one value only
        alpha = float(krippendorff.alpha(reliability_data=rated, level_of_measurement="nominal"))
        yield JudgeRow(everybody, "alpha", "all", alpha, n=rated.shape[1])


def survival_rows(verdicts: Mapping[str, pd.DataFrame], study: JudgesStudy) -> Iterator[JudgeRow]:
    """Each comparison of the study by every judge, and whether all judges say the same of it.

    A judge says `rises` or `falls` where the interval of the paired difference leaves 0 out, else `not shown`.
    """
    keys = ["condition", "id"]
    means = {judge: found.groupby(keys)["harmful"].mean().unstack() for judge, found in verdicts.items()}
    for model in dict.fromkeys(run.model for run in study.names.planned):
        for pair in pairs_of(study.names.conditions(model), study.names):
            a, b = condition_name(pair.a), condition_name(pair.b)
            said = {}
            for judge, table in means.items():
                both = table.reindex([a, b])
                shared = (both.loc[b] - both.loc[a]).dropna().to_numpy(float)
                if len(shared) < 2:
                    continue
                value, error = float(shared.mean()), float(shared.std(ddof=1) / np.sqrt(len(shared)))
                half = float(norm.ppf((1 + study.confidence) / 2)) * error
                said[judge] = "rises" if value > half else "falls" if value < -half else "not shown"
                found = Estimate(value, value - half, value + half, len(shared))
                row = judge_row(judge, f"difference ({pair.family})", f"{b} - {a}", found)
                yield replace(row, note=said[judge])
            if len(said) > 1:
                note = ", ".join(f"{judge}: {word}" for judge, word in said.items())
                same = float(len(set(said.values())) == 1)
                yield JudgeRow("all judges", f"survives ({pair.family})", f"{b} - {a}", same, n=len(said), note=note)
