"""Durations: in words, and from Snakemake's benchmark files."""

from pathlib import Path


def in_words(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def seconds_of(benchmark: str | Path) -> float | None:
    """The duration in a benchmark file (column `s`), or None where there is none."""
    try:
        header, row = Path(benchmark).read_text(encoding="utf-8").splitlines()[:2]
        return float(row.split("\t")[header.split("\t").index("s")])
    except (OSError, ValueError):
        return None
