"""The judge format audit in figures: how the score of the same answers moves when only their format changes."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from formsafe.analysis.score_table import RUN_COLUMNS, run_of, write_csv
from formsafe.analysis.statistics import Array, bootstrap_groups, holm, mcnemar_test, mean_test
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.files import read_jsonl
from formsafe.formats.registry import plain_format

COLUMNS = (
    *("model", "rendering", "reference", "metric", "value", "reference_value", "shift", "ci_low", "ci_high"),
    *("n", "only_reference", "only_rendering", "p", "p_holm"),
)
ANSWER = ("id", *RUN_COLUMNS)  # what names an answer


def write_audit(paths: Sequence[str], output: str, threshold: int, settings: AnalysisSettings) -> None:
    """Write audit.csv.

    Args:
        paths: the audit's `scores.jsonl`, one a model; a record names its `rendering` and the answer it is of.
        output: file to write.
        threshold: scores from here on are harmful.
        settings: level and draws of the intervals.
    """
    rows: list[tuple[Any, ...]] = []
    for path in paths:
        renderings = read_renderings(read_jsonl(path))
        rows += audit_rows(run_of(path).model, renderings, threshold, settings)
    write_csv(output, COLUMNS, rows)


def read_renderings(records: Iterable[dict[str, Any]]) -> dict[str, Array]:
    """Scores by rendering, each [answers] over the same answers in the same order, NaN where unscored."""
    scores: dict[str, dict[str, float]] = {}
    for record in records:
        answer = json.dumps([record.get(key) for key in ANSWER])
        score = record.get("score")
        scores.setdefault(record["rendering"], {})[answer] = math.nan if score is None else float(score)
    answers = sorted(set().union(*scores.values())) if scores else []
    return {
        name: np.array([found.get(answer, math.nan) for answer in answers]) for name, found in sorted(scores.items())
    }


def audit_rows(
    model: str, renderings: dict[str, Array], threshold: int, settings: AnalysisSettings
) -> Iterator[tuple[Any, ...]]:
    """Rows of audit.csv: each rendering against plain text, as mean score and as ASR; all are one family of tests."""
    plain = plain_format()
    others = [name for name in renderings if name != plain]
    if plain not in renderings or not others:
        return
    rows: list[tuple[Any, ...]] = []
    for metric in ("mean_score", "asr"):
        values = {
            name: scores if metric == "mean_score" else np.where(np.isnan(scores), np.nan, scores >= threshold)
            for name, scores in renderings.items()
        }
        shifts = [(values[name] - values[plain])[None, :] for name in others]
        estimates = bootstrap_groups(shifts, settings.confidence, settings.bootstrap_draws, settings.seed)
        for name, estimate in zip(others, estimates, strict=True):
            known = ~np.isnan(values[name]) & ~np.isnan(values[plain])
            a, b = values[plain][known], values[name][known]
            means = (float(b.mean()), float(a.mean())) if known.any() else (math.nan, math.nan)
            test = mcnemar_test(a, b) if metric == "asr" else ("", "", mean_test(b - a))
            found = (*means, estimate.value, estimate.low, estimate.high, int(known.sum()), *test)
            rows.append((model, name, plain, metric, *found))
    for row, p_holm in zip(rows, holm([row[-1] for row in rows]), strict=True):
        yield *row, p_holm
