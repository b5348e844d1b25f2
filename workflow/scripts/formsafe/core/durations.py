"""Durations: in words, and from Snakemake's benchmark files."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median


def in_words(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def seconds_of(benchmark: str | Path) -> float | None:
    """The duration in a benchmark file (column `s`), or None where there is none."""
    with suppress(OSError, ValueError):
        header, row = Path(benchmark).read_text(encoding="utf-8").splitlines()[:2]
        return float(row.split("\t")[header.split("\t").index("s")])
    return None


def usual_seconds(folders: Iterable[Path]) -> float | None:
    """The median duration in all benchmark files below `folders`, or None where there is none."""
    found = [seconds_of(file) for folder in folders for file in folder.rglob("*.tsv")]
    return median(known) if (known := [seconds for seconds in found if seconds is not None]) else None
