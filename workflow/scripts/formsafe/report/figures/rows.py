"""What figures of bars are built from: rows with names, from top to bottom, on an axis of shares from 0 to 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from formsafe.analysis.estimates import Estimate
from formsafe.core.records import Run
from formsafe.report.figures import style
from formsafe.report.results import Results

ENDS = 0.07  # inches above the first and below the last row
LABELS = 0.8  # inches that the value axis's ticks and labels take


@dataclass(frozen=True)
class Bar:
    """One row: a bar, a heading (no run), or a missing value (no estimate) with the reason for it.

    `trainings`: the estimates of single trainings, drawn as dots.
    """

    label: str
    run: Run | None = None
    estimate: Estimate | None = None
    missing: str = "not run"
    trainings: tuple[Estimate, ...] = ()


def height(bars: Sequence[Bar]) -> float:
    """Height in inches of a panel of these rows."""
    return max(2 * style.ROW, sum(style.row_height([bar.label]) for bar in bars)) + 2 * ENDS + LABELS


def frame_rows(axes: Axes, bars: Sequence[Bar], label: str, names: bool = True) -> list[float]:
    """Set up an axis from 0 to 1 with a row per bar.

    Args:
        axes: where.
        bars: the rows, from top to bottom.
        label: label of the value axis.
        names: whether to write the rows' names (the left panel of several does).

    Returns:
        The rows' places, in inches above the axis's lower end.
    """
    # a long name makes its own row higher, and no other
    rows = np.array([style.row_height([bar.label]) for bar in bars])
    places = np.cumsum(rows[::-1])[::-1] - rows / 2
    axes.set_yticks(places, [style.wrapped(bar.label, style.NAME) for bar in bars] if names else [""] * len(bars))
    for tick, bar in zip(axes.get_yticklabels(), bars, strict=True):
        tick.set_fontweight("bold" if bar.run is None else "normal")
    axes.tick_params(axis="y", length=0)
    if names:
        axes.set_ylabel("run")
    axes.set_ylim(-ENDS, rows.sum() + ENDS)
    axes.set(xlim=(0, 1), xlabel=label)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    style.light_grid(axes, "x")
    return [float(place) for place in places]


def draw_bars(
    axes: Axes, results: Results, bars: Sequence[Bar], label: str, names: bool = True, line: Bar | None = None
) -> None:
    """Draw rows with bars, intervals, a dot per training and numbers; `line`: a reference, its interval as a band."""
    places = frame_rows(axes, bars, f"{label}\n{_counts(bars)}", names)
    if line is not None and line.estimate is not None:
        axes.axvspan(line.estimate.low, line.estimate.high, color=style.GREY, alpha=0.15, linewidth=0)
        axes.axvline(line.estimate.value, color=style.INK, linestyle="--", linewidth=0.9)
        above = axes.get_xaxis_transform()
        axes.text(line.estimate.value, 1.0, line.label, transform=above, va="bottom", fontsize=style.SMALLEST)
    for place, bar in zip(places, bars, strict=True):
        if bar.run is not None:
            _draw_row(axes, results, place, bar, bar.run)


def _draw_row(axes: Axes, results: Results, place: float, bar: Bar, run: Run) -> None:
    found = bar.estimate
    if found is None:
        write_missing(axes, place, bar)
        return
    colour, number = style.method_colour(results, run.method), style.method_place(results, run.method)
    hatch = "" if number is None else style.HATCHES[number]
    axes.barh(place, found.value, height=0.72 * style.ROW, color=colour, edgecolor="white", linewidth=0.3, hatch=hatch)
    if not math.isnan(found.low):
        spread = style.spread([found])
        axes.errorbar(found.value, place, xerr=spread, color=style.INK, linewidth=0.8, capsize=1.6, capthick=0.8)
    dots = [each.value for each in bar.trainings]
    whole: dict[str, Any] = {"markeredgecolor": style.INK, "markeredgewidth": 0.6, "markersize": 2.6, "clip_on": False}
    if dots:  # an empty line without clipping has its place at the figure's corner, and the layout collapses
        axes.plot(dots, [place] * len(dots), "o", color="white", **whole)
    # beside the axis, which ends at 1: a share cannot be more
    axes.text(1.02, place, f"{found.value:.3f}", va="center", fontsize=style.SMALLEST, color=style.INK, clip_on=False)


def write_missing(axes: Axes, place: float, bar: Bar) -> None:
    """Write why a row has no bar, in its place."""
    axes.text(0.01, place, bar.missing, va="center", color=style.GREY, style="italic", fontsize=style.SMALLEST)


def _counts(bars: Sequence[Bar]) -> str:
    """Numbers of answers and of trainings behind the rows: `n = 1,320 answers`, `1 training per run`."""
    answers = [each.n for bar in bars for each in bar.trainings or [bar.estimate] if each is not None]
    trainings = [len(bar.trainings) for bar in bars if bar.trainings]
    parts = [f"n = {_range(answers)} answers"] if answers else []
    parts += [f"{_range(trainings)} training{'s' * (max(trainings) > 1)} per run"] if trainings else []
    return "\n".join(parts)


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
