"""Horizontal bars with intervals and numbers: ASR (the paper's figures 3 and 5), ASR by source, format leakage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from formsafe.analysis.estimates import Estimate
from formsafe.config.grid import Run
from formsafe.formats.registry import traits_of
from formsafe.report.figures.style import (
    COLUMN,
    GREY,
    INK,
    NAME,
    PAGE,
    ROW,
    Study,
    asr_label,
    light_grid,
    method_colour,
    new_figure,
    note,
    row_height,
    spread,
    wrapped,
)

LEAST_AXIS = 0.1  # the value axis reaches at least this far: rates near 0 are not blown up
ENDS = 0.07  # inches above the first and below the last row
LABELS, HEADING = 0.6, 0.2  # inches that the value axis's ticks and label take, and a panel's heading
TALL = 4.0  # inches: panels higher than this stand side by side, so that the figure stays on a page
PANELS = {"": "answers to the task's prompts", "harmful_": "answers to harmful prompts"}


@dataclass(frozen=True)
class Bar:
    """One row: a bar, a heading (no colour), or a missing value (no estimate) with the reason for it."""

    label: str
    estimate: Estimate | None = None
    colour: str | None = None
    missing: str = "not run"

    @property
    def is_heading(self) -> bool:
        """Whether the row only names the rows under it."""
        return self.colour is None

    @property
    def known(self) -> Estimate | None:
        """The estimate, if there is something to draw."""
        return self.estimate if self.estimate is not None and not math.isnan(self.estimate.value) else None


def draw_asr(study: Study) -> Figure:
    """ASR with intervals by format and method, the base model as a line."""
    bars = condition_bars(study, "asr")
    if not bars:
        return note(COLUMN, study.title, "no runs")
    figure = new_figure(COLUMN, height(bars), study.title)
    draw_bars(figure.add_subplot(), bars, asr_label(study), line=base_estimate(study, "asr"))
    return figure


def draw_asr_by_source(study: Study) -> Figure:
    """The same for each source of harmful prompts, a panel each on one scale."""
    panels = {name: condition_bars(study, name) for name in study.summary.metrics("asr[")}
    if not any(panels.values()):
        return note(PAGE, study.title, "no scored answers")
    tall = height(next(iter(panels.values()))) + HEADING
    columns = min(len(panels), 2 if tall <= TALL else 4)
    rows = -(-len(panels) // columns)
    figure = new_figure(PAGE if columns > 1 else COLUMN, rows * tall, study.title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for number, (axes, (name, bars)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        draw_bars(axes, bars, asr_label(study), names=number % columns == 0, line=base_estimate(study, name))
        source = study.names.source(name.removeprefix("asr[").removesuffix("]"))
        answers = max((bar.estimate.n for bar in bars if bar.estimate), default=0)
        axes.set_title(f"{source}{' ' if columns < 3 else chr(10)}({answers:,} answers)", loc="left")
        axes.xaxis.set_tick_params(labelbottom=True)
    set_limit(grid[0, 0], max(axis_limit(bars, base_estimate(study, name)) for name, bars in panels.items()))
    return figure


def draw_leakage(study: Study) -> Figure:
    """Share of answers wholly in the format of the training data, by format and method; the base model's beside it."""
    panels = {title: leakage_bars(study, prefix) for prefix, title in PANELS.items()}
    if not any(bar.known for bars in panels.values() for bar in bars):
        return note(PAGE, study.title, "no run was trained on a format with marks of its own")
    figure = new_figure(PAGE, height(next(iter(panels.values()))) + HEADING, study.title)
    grid = figure.subplots(1, len(panels), squeeze=False)
    for number, (axes, (title, bars)) in enumerate(zip(grid.flat, panels.items(), strict=True)):
        draw_bars(axes, bars, "share of answers wholly in that format", names=number == 0)
        axes.set_title(title, loc="left")
        set_limit(axes, 1.22)
    return figure


def condition_bars(study: Study, metric: str) -> list[Bar]:
    """Rows of a figure: the base model, then under each format's name its methods."""
    bars = [_bar(study, run, metric) for run in study.names.bases(study.model)]
    trained = study.names.main_conditions(study.model)
    for format in dict.fromkeys(run.format for run in trained):
        bars.append(Bar(study.names.format(format)))
        bars += [_bar(study, run, metric) for run in trained if run.format == format]
    return bars


def leakage_bars(study: Study, prefix: str) -> list[Bar]:
    """Rows: under each format its base rate in the base model, then each method trained on it."""
    conditions = study.names.main_conditions(study.model)
    trained = [run for run in conditions if not traits_of(run.format).plain]  # any text is plain: nothing can leak
    bars: list[Bar] = []
    for format in dict.fromkeys(run.format for run in trained):
        bars.append(Bar(study.names.format(format)))
        bases = [run for run in study.names.bases(study.model) if study.summary.has_run(run)]
        bars += [_bar(study, run, f"{prefix}leak_strict[{format}]") for run in bases]
        bars += [_bar(study, run, f"{prefix}leak_strict") for run in trained if run.format == format]
    return bars


def _bar(study: Study, run: Run, metric: str) -> Bar:
    reason = "no scores" if study.summary.has_run(run) else "not run"
    return Bar(study.names.series(run), study.summary.get(run, metric), method_colour(study, run.method), reason)


def base_estimate(study: Study, metric: str) -> Estimate | None:
    """The base model's value, if it ran."""
    return next((study.summary.get(run, metric) for run in study.names.bases(study.model)), None)


def height(bars: Sequence[Bar]) -> float:
    """Height in inches of a panel of these rows."""
    return max(2 * ROW, sum(_rows(bars))) + 2 * ENDS + LABELS


def _rows(bars: Sequence[Bar]) -> list[float]:
    """Height in inches of each row: a long name makes its own row higher, and no other."""
    return [row_height([bar.label]) for bar in bars]


def draw_bars(axes: Axes, bars: Sequence[Bar], label: str, names: bool = True, line: Estimate | None = None) -> None:
    """Draw rows from top to bottom.

    Args:
        axes: where.
        bars: the rows.
        label: label of the value axis.
        names: whether to write the rows' names (the left panel of several does).
        line: a reference, drawn as a dashed line with its interval as a band.
    """
    rows = np.array(_rows(bars))
    places = np.cumsum(rows[::-1])[::-1] - rows / 2  # inches above the axis's lower end
    limit = axis_limit(bars, line)
    if line is not None and not math.isnan(line.value):
        axes.axvspan(line.low, line.high, color=GREY, alpha=0.15, linewidth=0)
        axes.axvline(line.value, color=GREY, linestyle="--", linewidth=0.9)
    for place, bar in zip(places, bars, strict=True):
        if not bar.is_heading:
            _draw_row(axes, float(place), bar, limit)
    axes.set_yticks(places, [wrapped(bar.label, NAME) for bar in bars] if names else [""] * len(bars))
    for tick, bar in zip(axes.get_yticklabels(), bars, strict=True):
        tick.set_fontweight("bold" if bar.is_heading else "normal")
    axes.tick_params(axis="y", length=0)
    if names:
        axes.set_ylabel("run")
    axes.set_ylim(-ENDS, rows.sum() + ENDS)
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
    tops = [found.high for found in (*(bar.known for bar in bars), line) if found and not math.isnan(found.high)]
    return 1.22 * max(LEAST_AXIS, *tops) if tops else 1.0


def _draw_row(axes: Axes, place: float, bar: Bar, limit: float) -> None:
    found = bar.known
    if found is None:
        reason = bar.missing if bar.estimate is None else "no scores"
        axes.text(0.01 * limit, place, reason, va="center", color=GREY, style="italic", fontsize=6.5)
        return
    axes.barh(place, found.value, height=0.72 * ROW, color=bar.colour, edgecolor="white", linewidth=0.3)
    if not math.isnan(found.low):
        axes.errorbar(found.value, place, xerr=spread([found]), color=INK, linewidth=0.8, capsize=1.6, capthick=0.8)
    end = found.value if math.isnan(found.high) else max(found.value, found.high)
    axes.text(end + 0.015 * limit, place, f"{found.value:.3f}", va="center", fontsize=6.5, color=INK)
