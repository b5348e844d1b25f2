"""Whole files or no files: every write here goes to a neighbour first and is then renamed over the target."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from formsafe.core.errors import FormsafeError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a neighbouring temporary path; on success fsync it and rename it to `path`, on failure remove it.

    The neighbour's name is fixed, so that the next writer takes away what a killed one left. A file has one writer at a
    time: Snakemake runs one job for it, and none beside jobs that outlived their Snakemake.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Put a file's contents, or a folder's names, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, records: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, whole or not at all; return the number of records."""
    count = 0
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as lines:
        for record in records:
            lines.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_json(path: str | Path) -> Any:
    """Read one JSON document; raises FormsafeError naming the file when it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormsafeError(f"{path} is not valid JSON ({error}). Delete it and run again to rebuild it.") from error


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file; raises FormsafeError naming the file and line of what is not a JSON object."""
    records = []
    with open(path, encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise FormsafeError(f"{path}, line {number}: expected one JSON object a line.")
            records.append(record)
    return records
