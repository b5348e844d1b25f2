"""Horizontal bars with intervals, numbers and room for long names: what most of the figures are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from formsafe.estimates import Estimate
from formsafe.figures.style import GREY, INK, light_grid, wrapped

ROW, TALL_ROW = 0.19, 0.27  # inches a row, with names of one line and of two
LABEL = 24  # characters a line of a name
LEAST_AXIS = 0.1  # the value axis reaches at least this far: rates near 0 are not blown up


@dataclass(frozen=True)
class Bar:
    """One row: a bar, a heading (no colour), or a missing value (no estimate) with the reason for it."""

    label: str
    estimate: Estimate | None = None
    colour: str | None = None
    missing: str = "not run"
    hatch: str = ""

    @property
    def is_heading(self) -> bool:
        """Whether the row only names the rows under it."""
        return self.colour is None

    @property
    def known(self) -> Estimate | None:
        """The estimate, if there is something to draw."""
        return self.estimate if self.estimate is not None and not math.isnan(self.estimate.value) else None


def height(bars: Sequence[Bar]) -> float:
    """Height in inches of a panel of these rows; names of two lines need more of it."""
    tall = any("\n" in wrapped(bar.label, LABEL) for bar in bars)
    return max(2, len(bars)) * (TALL_ROW if tall else ROW) + 0.72


def draw_bars(axes: Axes, bars: Sequence[Bar], label: str, names: bool = True, line: Estimate | None = None) -> None:
    """Draw rows from top to bottom.

    Args:
        axes: where.
        bars: the rows.
        label: label of the value axis.
        names: whether to write the rows' names (the left panel of several does).
        line: a reference, drawn as a dashed line with its interval as a band.
    """
    places = np.arange(len(bars))[::-1]
    limit = axis_limit(bars, line)
    if line is not None and not math.isnan(line.value):
        axes.axvspan(line.low, line.high, color=GREY, alpha=0.15, linewidth=0)
        axes.axvline(line.value, color=GREY, linestyle="--", linewidth=0.9)
    for place, bar in zip(places, bars, strict=True):
        if not bar.is_heading:
            _draw_row(axes, float(place), bar, limit)
    axes.set_yticks(places, [wrapped(bar.label, LABEL) for bar in bars] if names else [""] * len(bars))
    for tick, bar in zip(axes.get_yticklabels(), bars, strict=True):
        tick.set_fontweight("bold" if bar.is_heading else "normal")
    axes.tick_params(axis="y", length=0)
    if names:
        axes.set_ylabel("run")
    axes.set_ylim(-0.6, len(bars) - 0.4)
    set_limit(axes, limit)
    axes.set_xlabel(label)
    light_grid(axes, "x")


def set_limit(axes: Axes, limit: float) -> None:
    """End the value axis of shares at `limit`, which may leave room beyond 1, and its ticks at 1."""
    ticks = [tick for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, limit) if tick <= min(1.0, limit)]
    axes.set_xticks(ticks)
    axes.set_xlim(0, limit)


def axis_limit(bars: Sequence[Bar], line: Estimate | None = None) -> float:
    """Where the value axis ends: beyond the highest interval, with room for its number."""
    tops = [bar.known.high for bar in bars if bar.known] + ([line.high] if line and not math.isnan(line.high) else [])
    return 1.22 * max([LEAST_AXIS, *(top for top in tops if top > 0)]) if tops else 1.0


def _draw_row(axes: Axes, place: float, bar: Bar, limit: float) -> None:
    found = bar.known
    if found is None:
        reason = bar.missing if bar.estimate is None else "no scores"
        axes.text(0.01 * limit, place, reason, va="center", color=GREY, style="italic", fontsize=6.5)
        return
    axes.barh(place, found.value, height=0.72, color=bar.colour, hatch=bar.hatch, edgecolor="white", linewidth=0.3)
    if not math.isnan(found.low):
        spread = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
        axes.errorbar(found.value, place, xerr=spread, color=INK, linewidth=0.8, capsize=1.6, capthick=0.8)
    end = found.value if math.isnan(found.high) else max(found.value, found.high)
    axes.text(end + 0.015 * limit, place, f"{found.value:.3f}", va="center", fontsize=6.5, color=INK)
