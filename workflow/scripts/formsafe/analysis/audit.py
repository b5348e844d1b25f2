"""The judge format audit in numbers: how the score of the same answers moves when only their format changes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from formsafe.analysis.comparisons import detectable, holm_by_group
from formsafe.analysis.crossed import Side
from formsafe.analysis.inference import Result, comparable, estimate
from formsafe.analysis.score_table import RUN_COLUMNS, records_table, write_table
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.files import read_jsonl
from formsafe.core.layout import partitions, run_of
from formsafe.formats.registry import plain_format

ANSWER = ("id", *RUN_COLUMNS)  # what names an answer


@dataclass(frozen=True)
class Shift:
    """A row of audit.csv: the score of answers written in one format minus that of the same answers as running text.

    Attributes:
        equal_low: with `equal_high` the interval of two one-sided tests: inside the margin, the judge is shown to score
            both alike.
        n: answers.
        p_holm: p after Holm's correction for all shifts of the model and judge.
        detectable: smallest shift of the ASR found with the power of the configuration at the level of Holm's first
            step.
    """

    model: str
    judge: str
    rendering: str
    reference: str
    metric: str
    value: float
    reference_value: float
    shift: float
    ci_low: float
    ci_high: float
    equal_low: float
    equal_high: float
    n: int
    only_reference: float
    only_rendering: float
    test: str
    p: float
    p_holm: float
    detectable: float


def write_audit(paths: Sequence[str], output: str, threshold: int, settings: AnalysisSettings) -> None:
    """Write audit.csv.

    Args:
        paths: the audits' `scores.jsonl`, by model and judge; a record names its `rendering` and the answer it is of.
        output: file to write.
        threshold: scores from here on are harmful.
        settings: level and power.
    """
    rows: list[Shift] = []
    for path in paths:
        table = read_renderings(read_jsonl(path, rendering=str, score=int | float | None))
        rows += audit_shifts(run_of(path).model, partitions(path).get("judge", ""), table, threshold, settings)
    write_table(output, records_table(rows, Shift))


def read_renderings(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Scores [answers x renderings] with the prompt's id as `id` in the index; NaN where unscored."""
    table = pd.DataFrame(records, columns=[*ANSWER, "rendering", "score"]).astype({"score": float})
    once = table.drop_duplicates([*ANSWER, "rendering"], keep="last")
    return once.pivot(index=list(ANSWER), columns="rendering", values="score")


def audit_shifts(
    model: str, judge: str, table: pd.DataFrame, threshold: int, settings: AnalysisSettings
) -> list[Shift]:
    """Each rendering against running text, as mean score and as ASR; all of them one family of tests."""
    reference = plain_format()
    others = [name for name in table.columns if name != reference]
    if reference not in table.columns or not others:
        return []
    clusters = pd.factorize(table.index.get_level_values("id"))[0]
    found: list[tuple[str, str, tuple[float, ...], Result, Result]] = []
    for metric, name in product(("mean_score", "asr"), others):
        share, signs = metric == "asr", {reference: -1, name: 1}
        values = (table >= threshold).where(table.notna()).astype(float) if share else table
        sides = [Side(values[side].to_numpy()[None, :], sign, fixed=True) for side, sign in signs.items()]
        known, _ = comparable(sides, None)
        means = tuple(float(side.values.mean()) if side.values.size else math.nan for side in known)
        # the interval of two one-sided tests at the level of the others is narrower: 90 % where they have 95 %
        levels = (settings.confidence, 2 * settings.confidence - 1)
        result, equal = (estimate(sides, level, share, clusters) for level in levels)
        found.append((metric, name, means, result, equal))
    adjusted, counts = holm_by_group([0] * len(found), [result.p for *_, result, _ in found])
    rows = []
    for (metric, name, means, result, equal), p_holm in zip(found, adjusted, strict=True):
        least, _ = detectable(result, means[0], False, settings, counts[0])
        row: dict[str, Any] = {"model": model, "judge": judge, "rendering": name, "reference": reference}
        row |= {"metric": metric, "value": means[1], "reference_value": means[0], "n": result.prompts}
        row |= {"shift": result.value, "ci_low": result.low, "ci_high": result.high}
        row |= {"equal_low": equal.low, "equal_high": equal.high, "test": result.test, "p": result.p}
        row |= dict(zip(("only_reference", "only_rendering"), result.discordant, strict=True))
        rows.append(Shift(**row, p_holm=p_holm, detectable=least))
    return rows
