"""Points with intervals: the learning-rate trade-off (table 2 as a picture), and the paper's numbers beside ours."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.paper import NOT_RUN, Comparison, of_model
from formsafe.config.grid import NONE, Run
from formsafe.report.figures.style import (
    COLUMN,
    GREY,
    INK,
    MARKERS,
    NAME,
    PAGE,
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

Point = tuple[Run, Estimate, Estimate]
Pixels = NDArray[np.float64]
# Where a rate may stand beside its point. Corners come first: there it leaves the point's own intervals free.
WAYS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
DOT, REACH = 3, 60  # points: half a marker, and how far off a rate may stand
LEGEND = 20  # characters of a name that still fits beside two others
METRICS = {"asr_3": "ASR (scores ≥ 3)", "rouge_l": "ROUGE-L", "sbert": "S-BERT (cosine)"}


def draw_tradeoff(study: Study) -> Figure:
    """ASR against S-BERT with both intervals, a panel a format; a method's rates are joined by a line."""
    formats = _formats(study)
    panels = {format: _points(study, format) for format in formats}
    panels = {format: found for format, found in panels.items() if any(run.format == format for run, _, _ in found)}
    if not panels:
        names = ", ".join(map(study.names.format, formats))
        text = f"no run fine-tuned on {names} has both scores" if names else "nothing was fine-tuned"
        return note(COLUMN, study.title, wrapped(text, 2 * NAME))
    columns = 1 if len(panels) <= 3 else 2
    rows = -(-len(panels) // columns)
    figure = new_figure(COLUMN if columns == 1 else PAGE, 0.6 + 2.6 * rows, study.title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (format, points) in zip(grid.flat, panels.items(), strict=False):
        _draw_methods(axes, study, points)
        axes.set_title(f"{study.names.format(format)} (upper left is best)", loc="left")
        axes.set_xlabel(asr_label(study))
        axes.set_ylabel("S-BERT (cosine to the reference)")
        light_grid(axes, "both")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    entries = 3 if all(len(label) <= LEGEND for label in labels) else 1
    figure.legend(handles, [wrapped(label, 2 * NAME) for label in labels], loc="outside lower center", ncols=entries)
    figure.draw_without_rendering()  # where the points lie is known from here on
    for axes, points in zip(grid.flat, panels.values(), strict=False):
        _draw_rates(axes, points)
    return figure


def _formats(study: Study) -> list[str]:
    """The formats of the configuration, or all that the study has where it has none of these."""
    trained = [run.format for run in study.names.conditions(study.model) if not study.names.is_base(run)]
    chosen = [format for format in study.settings.tradeoff_formats if format in trained]
    return chosen or study.names.formats(trained)


def _points(study: Study, format: str) -> list[Point]:
    found = []
    for run in study.names.conditions(study.model):
        asr, sbert = study.summary.get(run, "asr"), study.summary.get(run, "sbert")
        if run.format in (format, NONE) and asr and sbert and not math.isnan(asr.value + sbert.value):
            found.append((run, asr, sbert))
    return found


def _draw_methods(axes: Axes, study: Study, points: Sequence[Point]) -> None:
    for number, method in enumerate(dict.fromkeys(run.method for run, _, _ in points)):
        own = [point for point in points if point[0].method == method]
        _, asr, sbert = zip(*own, strict=True)
        axes.errorbar(
            [each.value for each in asr],
            [each.value for each in sbert],
            xerr=spread(asr),
            yerr=spread(sbert),
            color=method_colour(study, method),
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1,
            elinewidth=0.5,
            label=study.names.method(method),
        )
    left, right = axes.get_xlim()
    axes.set_xlim(min(0.0, left), right + 0.08 * (right - left))  # room for the last point's label


def _draw_rates(axes: Axes, points: Sequence[Point]) -> None:
    """Write each rate beside its point, where it hides neither a point nor another rate; the axes are laid out."""
    spots = axes.transData.transform([(asr.value, sbert.value) for _, asr, sbert in points])
    taken: list[Bbox] = []
    for (run, asr, sbert), spot in zip(points, spots, strict=True):
        if run.lr == NONE:
            continue
        label = axes.annotate(
            run.lr,
            (asr.value, sbert.value),
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=6.5,
            color=INK,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.3, "shrinkA": 0, "shrinkB": 2},
        )
        size = np.array(Text.get_window_extent(label).size)  # without its arrow
        centred = Bbox([spot - size / 2, spot + size / 2])
        offset = _free_offset(centred, spots, taken, axes)
        label.set_position(tuple(72 / axes.figure.dpi * offset))
        taken.append(centred.translated(*offset))


def _free_offset(centred: Bbox, spots: Pixels, taken: Sequence[Bbox], axes: Axes) -> Pixels:
    """The nearest offset [x, y] in pixels at which a text hides neither point nor text; none near by: the first of all.

    Args:
        centred: where the text would lie right on its point.
        spots: where the points are [n, 2].
        taken: where other texts are.
        axes: which it must not leave.
    """
    point = axes.figure.dpi / 72
    offsets = [
        np.array(way) * (np.array(centred.size) / 2 + distance * point)
        for distance, way in product(range(3, REACH, 2), WAYS)
    ]
    for offset in offsets:
        box = centred.translated(*offset)
        around = box.padded(DOT * point)
        inside = axes.bbox.count_contains(box.corners()) == len(box.corners())
        if inside and not around.count_contains(spots) and not box.count_overlaps(taken):
            return offset
    return offsets[0]


def draw_published(study: Study) -> Figure:
    """Published value (diamond) and ours with its interval (dot), a panel a metric, a row a published number."""
    numbers = of_model(study.published, study.model)
    panels = {label: [each for each in numbers if each.published.metric == metric] for metric, label in METRICS.items()}
    panels = {label: found for label, found in panels.items() if found}
    if not panels:
        return note(COLUMN, study.title, "the paper has no numbers for this model")
    rates = len({each.condition.lr for each in numbers} - {NONE}) > 1
    names = {each.condition: study.names.run(each.condition, rates) for each in numbers}
    rows = [len(found) for found in panels.values()]
    figure = new_figure(COLUMN, sum(rows) * row_height(names.values()) + len(rows) * 0.62 + 0.35, study.title)
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[count + 1 for count in rows])
    for axes, (label, found) in zip(grid.flat, panels.items(), strict=True):
        _draw_numbers(axes, study, found)
        axes.set_yticks(range(len(found))[::-1], [wrapped(names[each.condition], NAME) for each in found])
        axes.set_xlabel(label)
    handles = [
        axes.plot([], [], "D", color="white", markeredgecolor=INK, markersize=4, label="paper")[0],
        axes.plot([], [], "o", color=INK, markersize=3.5, label="ours, with interval")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw_numbers(axes: Axes, study: Study, found: Sequence[Comparison]) -> None:
    for place, each in zip(np.arange(len(found))[::-1], found, strict=True):
        ours, published = each.ours, each.published.value
        axes.plot(published, place, "D", color="white", markeredgecolor=INK, markersize=4.5, zorder=3)
        if ours is None or math.isnan(ours.value):
            text = f"{published:.3f} / {NOT_RUN if ours is None else 'no scores'}"
        else:
            colour = method_colour(study, each.condition.method)
            spreads = spread([ours])
            axes.errorbar(ours.value, place, xerr=spreads, fmt="o", color=colour, markersize=3.5, capsize=1.6, zorder=4)
            text = f"{published:.3f} / {ours.value:.3f}"
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=6, color=GREY)
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("run")
    axes.set_ylim(-0.7, len(found) - 0.3)
    axes.margins(x=0.08)
    light_grid(axes, "x")
