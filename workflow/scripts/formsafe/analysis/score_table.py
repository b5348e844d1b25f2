"""The table of all scores: one row per run, prompt and field of its records; and the CSV files of the results."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from formsafe.analysis.duplicates import near_duplicates
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl, replacing
from formsafe.core.layout import BENIGN, HARMFUL, TASK, run_of
from formsafe.core.records import RUN_COLUMNS, Run

Array = NDArray[np.float64]
Record = TypeVar("Record")
COLUMNS = ("run", "prompts", "source", "id", "metric", "value")
# Fields of a record that are values; everything else in it (replies, states, ids) stays out of the table.
JUDGE_FIELDS = ("score", "expected_score")
DEGENERATE = ("empty", "repeated", "cut")
QUALITY = ("rouge_l", "sbert", "rouge_l_neutral", "sbert_neutral")
TEXT_FIELDS = ("refusal", *QUALITY, "leak_strict", "leak_loose", "tokens", *DEGENERATE)


class Scores:
    """All values of a study.

    Args:
        frame: columns `run` (a `Run`), `prompts`, `source`, `id`, `metric`, `value`; NaN is a value that is unknown,
            a missing row a prompt that the run did not answer. `source` may be given in any one of a prompt's rows.
        duplicates: for prompts with near-duplicates the id of the first of them.
    """

    def __init__(self, frame: pd.DataFrame, duplicates: Mapping[str, str] | None = None) -> None:
        self.duplicates = dict(duplicates or {})
        named = frame[frame["source"] != ""].drop_duplicates("id")
        self.sources: dict[str, str] = dict(zip(named["id"], named["source"], strict=True))
        self.frame = frame.assign(source=[self.sources.get(name, "") for name in frame["id"]])
        self._ids = {name: sorted(ids) for name, ids in frame.groupby("prompts")["id"].unique().items()}
        self._values: dict[Any, tuple[Array, NDArray[np.bool_]]] = {}
        for key, rows in frame.groupby(["prompts", "metric", "run"], sort=False):
            ids = self._ids[key[0]]
            values, answered = np.full(len(ids), np.nan), np.zeros(len(ids), dtype=bool)
            at = np.searchsorted(ids, rows["id"].tolist())
            values[at], answered[at] = rows["value"], True
            self._values[key] = values, answered

    def ids(self, prompts: str) -> list[str]:
        """Ids of all examples of a prompt set, sorted."""
        return self._ids.get(prompts, [])

    def metrics(self, prompts: str) -> list[str]:
        """Metrics of a prompt set, sorted."""
        return sorted({metric for name, metric, _ in self._values if name == prompts})

    def values(self, prompts: str, metric: str, run: Run) -> tuple[Array, NDArray[np.bool_]]:
        """Values [n] of one run in the order of `ids`, NaN where unknown; and which prompts it answered at all."""
        n = len(self.ids(prompts))
        return self._values.get((prompts, metric, run), (np.full(n, np.nan), np.zeros(n, dtype=bool)))

    def table(self, runs: Sequence[Run]) -> pd.DataFrame:
        """What scores.csv holds: runs in the order of `runs`, then prompts, metric and id sorted."""
        place = {run: number for number, run in enumerate(runs)}
        kept = self.frame[self.frame["run"].isin(place)].assign(place=lambda rows: rows["run"].map(place))
        kept = kept.sort_values(["place", "prompts", "metric", "id"], kind="stable")
        fields = pd.DataFrame([run.fields for run in runs], columns=list(RUN_COLUMNS))
        named = fields.take(kept["place"].to_numpy(dtype=int)).reset_index(drop=True)
        return pd.concat([named, kept[list(COLUMNS[1:])].reset_index(drop=True)], axis=1)


def read_scores(files: Mapping[str, Iterable[str]]) -> Scores:
    """Read the score files of all runs.

    Args:
        files: paths, one per run, under `scores` (the judge's), `task` and `harmful` (`text_scores.jsonl`), `benign`
            and `benign_judged` (text scores and refusals of benign prompts, where the study has any); under `prompts`
            files of the harmful prompts with their text, among which near-duplicates are found.

    Raises:
        FormsafeError: a record without an id, or an id twice in a file.
    """
    kinds = {"scores": (HARMFUL, JUDGE_FIELDS), "task": (TASK, TEXT_FIELDS), "harmful": (HARMFUL, TEXT_FIELDS)}
    kinds |= {"benign": (BENIGN, ("refusal", *DEGENERATE)), "benign_judged": (BENIGN, ("score", "label"))}
    values: list[tuple[Any, ...]] = []
    for name, (prompts, columns) in kinds.items():
        for path in files.get(name, []):
            values += _read_file(path, prompts, columns)
    texts = {row["id"]: row["prompt"] for path in files.get("prompts", []) for row in read_jsonl(path)}
    # Texts as Python's own: pandas' strings are slow to go through one by one, as all that follows does.
    frame = pd.DataFrame(values, columns=list(COLUMNS), dtype=object).astype({"value": float})
    return Scores(frame, near_duplicates(texts) if texts else None)


def _read_file(path: str, prompts: str, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of one score file; a text that fits a format adds `leak_strict[format]` and `leak_loose[format]`."""
    run, known_ids = run_of(path), set()
    for record in read_jsonl(path, id=str):
        example, source = record["id"], str(record.get("source") or "")
        if example in known_ids:
            raise FormsafeError(f"{path}: the id {example!r} is doubled. Delete the file and run again.")
        known_ids.add(example)
        # `sbert[json]`: a score against the reference in another format than the run's own
        known = {name: value for name, value in record.items() if name.partition("[")[0] in fields}
        found = {name: value for name, value in known.items() if isinstance(value, int | float | None)}
        if isinstance(label := known.get("label"), str):  # of a judge of refusals: which part of them is partial
            found["partial_refusal"] = "partial" in label.lower() and known.get("score") == 1
        found.pop("label", None)
        fits = record.get("formats")
        for name, fit in fits.items() if isinstance(fits, dict) else ():
            found |= {f"leak_strict[{name}]": fit == "strict", f"leak_loose[{name}]": fit is not None}
        yield from ((run, prompts, source, example, name, value) for name, value in found.items())


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a CSV file, whole or not at all, floats rounded to 6 digits: equal values give equal bytes."""
    floats = table.select_dtypes("float").columns
    table = table.assign(**{name: table[name] + 0.0 for name in floats})  # + 0.0: no -0
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Read a CSV file as one dict per row; every cell is text, as written."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]


def as_float(cell: str | None) -> float:
    """A cell as a number; empty is NaN."""
    return float(cell) if cell else math.nan


def read_records(path: str | Path, kind: Callable[..., Record]) -> list[Record]:
    """Read a CSV file whose columns are the fields of `kind`, a dataclass of texts, integers and floats."""
    types: dict[str, Any] = {field.name: field.type for field in fields(cast(Any, kind))}
    empty = {name: [""] for name, type in types.items() if type is float}
    table = pd.read_csv(path, usecols=list(types), dtype=types, keep_default_na=False, na_values=empty)
    rows: Any = table.to_dict("records")
    return [kind(**row) for row in rows]


def records_table(rows: Iterable[Any], kind: type[Any]) -> pd.DataFrame:
    """The rows of a CSV file from instances of a dataclass; also without any row."""
    return pd.DataFrame(map(asdict, rows), columns=[field.name for field in fields(kind)])
