"""From the score files of all runs to one tidy table, and back out of it as matrices of runs by prompts."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formsafe.config.grid import NONE, Run
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl, replacing

RUN_COLUMNS = ("model", "method", "format", "lr", "seed")
COLUMNS = (*RUN_COLUMNS, "prompts", "source", "id", "metric", "value")
HARMFUL, TASK = "harmful", "task"
# Fields of a record that are values; everything else in it (replies, states, ids) stays out of the table.
JUDGE_FIELDS = ("score", "expected_score")
TEXT_FIELDS = (
    "refusal",
    "rouge_l",
    "sbert",
    "rouge_l_neutral",
    "sbert_neutral",
    "leak_strict",
    "leak_loose",
    "tokens",
)


@dataclass
class Scores:
    """All values of a study: (prompts, metric) -> run -> id -> value, None where a value is unknown."""

    values: dict[tuple[str, str], dict[Run, dict[str, float | None]]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, prompts: str, metric: str, run: Run, example: str, value: float | None) -> None:
        """Keep one value."""
        self.values.setdefault((prompts, metric), {}).setdefault(run, {})[example] = value

    def ids(self, prompts: str) -> list[str]:
        """Ids of all examples of a prompt set, sorted."""
        found: set[str] = set()
        for (name, _), runs in self.values.items():
            if name == prompts:
                found.update(*runs.values())
        return sorted(found)

    def metrics(self, prompts: str) -> list[str]:
        """Metrics of a prompt set, sorted."""
        return sorted(metric for name, metric in self.values if name == prompts)

    def row(self, prompts: str, metric: str, run: Run, ids: Sequence[str]) -> NDArray[np.float64]:
        """Values [n] of one run in the order of `ids`, NaN where unknown."""
        values = self.values.get((prompts, metric), {}).get(run, {})
        return np.array([math.nan if (value := values.get(name)) is None else value for name in ids], dtype=float)

    def has(self, prompts: str, metric: str, run: Run) -> bool:
        """Whether the run has a known value of the metric."""
        return any(value is not None for value in self.values.get((prompts, metric), {}).get(run, {}).values())

    def rows(self, runs: Sequence[Run]) -> Iterator[tuple[Any, ...]]:
        """The tidy table's rows: runs in their order, then prompts, metric and id sorted."""
        for run in runs:
            columns = tuple(run.fields.values())
            for prompts, metric in sorted(self.values):
                for example, value in sorted(self.values[prompts, metric].get(run, {}).items()):
                    yield (*columns, prompts, self.sources.get(example, ""), example, metric, value)


def run_of(path: str | Path) -> Run:
    """The run a file belongs to, from the partitions in its path; soft prompts have no method and no rate."""
    partitions = dict(part.split("=", 1) for part in Path(path).parts if "=" in part)
    fields = {key: partitions[key] for key in RUN_COLUMNS if key in partitions}
    if "model" not in fields:
        raise FormsafeError(f"{path}: the path does not name a run (model=.../method=.../...).")
    return Run(**{"method": NONE, **fields})


def read_scores(judge: Iterable[str], task: Iterable[str], harmful: Iterable[str]) -> Scores:
    """Read the score files of all runs.

    Args:
        judge: the judge's `scores.jsonl`, one a run.
        task: `text_scores.jsonl` of the task answers, one a run.
        harmful: `text_scores.jsonl` of the harmful answers, one a run.
    """
    scores = Scores()
    for path in judge:
        _read_file(scores, path, HARMFUL, JUDGE_FIELDS)
    for path in task:
        _read_file(scores, path, TASK, TEXT_FIELDS)
    for path in harmful:
        _read_file(scores, path, HARMFUL, TEXT_FIELDS)
    return scores


def _read_file(scores: Scores, path: str, prompts: str, fields: Iterable[str]) -> None:
    run, seen = run_of(path), set()
    for record in read_jsonl(path):
        example = record.get("id")
        if not isinstance(example, str) or example in seen:
            raise FormsafeError(f"{path}: the id {example!r} is missing or doubled. Delete the file and run again.")
        seen.add(example)
        if record.get("source"):
            scores.sources[example] = str(record["source"])
        for name in fields:
            if name in record:
                value = record[name]
                scores.add(prompts, name, run, example, None if value is None else float(value))
        for name, found in (record.get("formats") or {}).items():
            scores.add(prompts, f"leak_strict[{name}]", run, example, float(found == "strict"))
            scores.add(prompts, f"leak_loose[{name}]", run, example, float(found in ("strict", "loose")))


def number(value: Any, digits: int = 6) -> str:
    """A table cell: numbers rounded to `digits` significant digits, unknown ones empty, text as it is."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{float(value) + 0.0:.{digits}g}"  # + 0.0: no -0
    return str(value)


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file, whole or not at all, floats rounded: equal values give equal bytes."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([number(cell) for cell in row] for row in rows)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Read a CSV file as one dict a row."""
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def as_float(cell: str | None) -> float:
    """A cell as a number; empty is NaN."""
    return float(cell) if cell else math.nan
