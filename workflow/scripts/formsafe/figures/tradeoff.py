"""Safety against task quality over learning rates (table 2 as a picture)."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from formsafe.estimates import Estimate
from formsafe.figures.style import (
    COLUMN,
    INK,
    MARKERS,
    Study,
    asr_label,
    light_grid,
    method_colour,
    new_figure,
    note,
)
from formsafe.grid import NONE, Run

Point = tuple[Run, Estimate, Estimate]


def draw_tradeoff(study: Study) -> Figure:
    """ASR against S-BERT with both intervals, a panel a format; a method's rates are joined by a line."""
    formats = [name for name in study.settings.tradeoff_formats if _points(study, name, trained_only=True)]
    if not formats:
        return note(COLUMN, study.title, "no fine-tuned run of these formats has both scores")
    figure = new_figure(COLUMN, 0.6 + 2.6 * len(formats), study.title)
    grid = figure.subplots(len(formats), 1, squeeze=False)
    for axes, format in zip(grid.flat, formats, strict=True):
        points = _points(study, format)
        _draw_methods(axes, study, points)
        _draw_labels(axes, study, points)
        axes.set_title(f"{study.names.format(format)} (upper left is best)", loc="left")
        axes.set_xlabel(asr_label(study))
        axes.set_ylabel("S-BERT (cosine to the reference)")
        light_grid(axes, "both")
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _points(study: Study, format: str, trained_only: bool = False) -> list[Point]:
    found = []
    for run in study.names.conditions(study.model):
        asr, sbert = study.summary.get(run, "asr"), study.summary.get(run, "sbert")
        if run.format not in ((format,) if trained_only else (format, NONE)) or asr is None or sbert is None:
            continue
        if not math.isnan(asr.value) and not math.isnan(sbert.value):
            found.append((run, asr, sbert))
    return found


def _draw_methods(axes: Axes, study: Study, points: Sequence[Point]) -> None:
    methods = list(dict.fromkeys(run.method for run, _, _ in points))
    for number, method in enumerate(methods):
        own = sorted((point for point in points if point[0].method == method), key=lambda point: _rate(point[0]))
        x, y = [asr.value for _, asr, _ in own], [sbert.value for _, _, sbert in own]
        axes.errorbar(
            x,
            y,
            xerr=_spread([asr for _, asr, _ in own]),
            yerr=_spread([sbert for _, _, sbert in own]),
            color=method_colour(study, method),
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1,
            elinewidth=0.5,
            label=study.names.method(method),
        )
    left, right = axes.get_xlim()
    axes.set_xlim(min(0.0, left), right + 0.08 * (right - left))  # room for the last point's label


def _draw_labels(axes: Axes, study: Study, points: Sequence[Point]) -> None:
    """Write each rate beside its point, pushed apart vertically where they would lie on each other."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    taken: list[tuple[float, float]] = []
    for run, asr, sbert in sorted(points, key=lambda point: point[2].value):
        if run.lr == NONE:
            continue
        x, y = asr.value + 0.015 * (right - left), sbert.value + 0.02 * (high - low)
        while any(abs(y - b) < 0.055 * (high - low) and abs(x - a) < 0.13 * (right - left) for a, b in taken):
            y += 0.01 * (high - low)
        taken.append((x, y))
        axes.annotate(
            run.lr,
            (asr.value, sbert.value),
            (x, y),
            fontsize=6.5,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.3, "shrinkA": 0, "shrinkB": 2},
        )
    top = max((y for _, y in taken), default=high)
    axes.set_ylim(low, max(high, top + 0.06 * (high - low)))


def _spread(estimates: Sequence[Estimate]) -> list[list[float]]:
    return [
        [max(0.0, each.value - each.low) for each in estimates],
        [max(0.0, each.high - each.value) for each in estimates],
    ]


def _rate(run: Run) -> float:
    return 0.0 if run.lr == NONE else float(run.lr)
