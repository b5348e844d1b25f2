"""Points with intervals: the learning-rate trade-off (table 2), the paper's numbers, over-refusal, ASR by judge."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from adjustText import adjust_text  # type: ignore[import-untyped]
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.judges import condition_name
from formsafe.analysis.paper import NOT_RUN, PaperComparison, of_model
from formsafe.core.records import NONE, Run
from formsafe.report.figures import style
from formsafe.report.registry import figure
from formsafe.report.results import Results

Point = tuple[Run, Estimate, Estimate]
MARKS = {"asr_judged": "o", "asr_corrected": "D"}
SHARES = (-0.02, 1.02)  # limits of an axis of shares: marks at 0 and 1 are drawn whole
LEGEND = 20  # characters of a name that still fits beside two others
ENTRY = 0.15  # inches that a further row of a legend takes
METRICS = {"asr_3": "ASR (scores ≥ 3)", "rouge_l": "ROUGE-L", "sbert": "S-BERT (cosine)"}


@figure("task", "Safety against task quality")
def tradeoff(results: Results, model: str) -> Figure:
    """A point per learning rate, crosses are intervals; up is closer to the reference, left is safer. A method protects
    only if it is further left at the same height: points of both methods on one line would say that it merely learned
    less."""
    title, formats = results.names.model(model), _formats(results, model)
    panels = {format: points for format in formats if (points := _points(results, model, format))}
    if not panels:
        names = ", ".join(map(results.names.format, formats))
        text = f"no run fine-tuned on {names} has both scores" if names else "nothing was fine-tuned"
        return style.note(style.COLUMN, title, text)
    labels = {results.names.run(line) for points in panels.values() for line in _lines(points)}
    columns = 3 if all(len(label) <= LEGEND for label in labels) else 1
    more = 0.6 + ENTRY * (math.ceil(len(labels) / columns) - 1)
    drawn, grid = style.panels(title, len(panels), 1 if len(panels) <= 3 else 2, 2.6, more)
    handles: dict[str, ErrorbarContainer] = {}
    for axes, (format, points) in zip(grid, panels.items(), strict=True):
        handles |= _draw_lines(axes, results, points)
        axes.set_title(f"{results.names.format(format)} (upper left is best)", loc="left")
        axes.set(xlabel=style.asr_label(results), ylabel="S-BERT (cosine to the reference)")
        style.light_grid(axes, "both")
    style.legend(drawn, handles, columns)
    drawn.draw_without_rendering()  # where the points are is known from here on
    for axes, points in zip(grid, panels.values(), strict=True):
        _draw_rates(axes, points)
    return drawn


def _formats(results: Results, model: str) -> list[str]:
    """The formats of the configuration, or all that the study has where it has none of these."""
    trained = [run.format for run in results.conditions(model) if run.format != NONE]
    chosen = [format for format in results.settings.tradeoff_formats if format in trained]
    return chosen or results.names.formats(trained)


def _points(results: Results, model: str, format: str) -> list[Point]:
    """The points of a format and of the base model; none where only the base model has both scores."""
    found = []
    for run in results.conditions(model):
        asr, sbert = results.summary.known(run, "asr"), results.summary.known(run, "sbert")
        if run.format in (format, NONE) and asr and sbert:
            found.append((run, asr, sbert))
    return found if any(run.format == format for run, _, _ in found) else []


def _lines(points: Sequence[Point]) -> dict[Run, list[Point]]:
    """The points of each line: a method's on one number of examples, by rising rate."""
    lines: dict[Run, list[Point]] = {}
    for point in points:
        lines.setdefault(point[0].without("format", "lr", "seed", "data_seed"), []).append(point)
    return lines


def _draw_lines(axes: Axes, results: Results, points: Sequence[Point]) -> dict[str, ErrorbarContainer]:
    """Draw each line's points, joined where there are several; returns label to what the legend shows."""
    handles: dict[str, ErrorbarContainer] = {}
    for number, (series, members) in enumerate(_lines(points).items()):
        _, asr, sbert = zip(*members, strict=True)
        x, y = [each.value for each in asr], [each.value for each in sbert]
        look: dict[str, Any] = {"color": style.method_colour(results, series.method), "linewidth": 1, "elinewidth": 0.5}
        look |= {"marker": style.MARKERS[number % len(style.MARKERS)], "markersize": 4}
        look["linestyle"] = "-" if len(asr) > 1 else "none"
        drawn = axes.errorbar(x, y, xerr=style.spread(asr), yerr=style.spread(sbert), **look)
        handles[results.names.run(series)] = drawn
    left, right = axes.get_xlim()
    room = 0.1 * (right - left)  # for the labels of the first and the last point
    axes.set_xlim(min(0.0, left) - room, right + room)
    return handles


def _draw_rates(axes: Axes, points: Sequence[Point]) -> None:
    """Write each rate beside its point, where it hides neither a point nor another rate; the axes are laid out."""
    rates = [(run.lr, asr.value, sbert.value) for run, asr, sbert in points if run.lr != NONE]
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": style.SMALLEST, "color": style.INK}
    texts = [axes.text(x, y, rate, **centred) for rate, x, y in rates]
    spots = _occupied(points)
    arrows = {"arrowstyle": "-", "color": style.INK, "linewidth": 0.3, "shrinkA": 0, "shrinkB": 2}
    # A fixed number of rounds: by default it stops after a second, and a busy machine would draw other places.
    adjust_text(texts, *spots, ax=axes, iter_lim=300, expand=(1.3, 1.5), arrowprops=arrows)


def _occupied(points: Sequence[Point]) -> NDArray[np.float64]:
    """Places [2, n] that no rate may hide: points, their intervals, and the lines that join them."""
    segments: list[tuple[Any, Any]] = []
    for members in _lines(points).values():
        for place, (_, asr, sbert) in enumerate(members):
            segments.append(((asr.low, sbert.value), (asr.high, sbert.value)))
            segments.append(((asr.value, sbert.low), (asr.value, sbert.high)))
            for _, other, quality in members[place + 1 : place + 2]:
                segments.append(((asr.value, sbert.value), (other.value, quality.value)))
    lines = [np.linspace(start, end, 9) for start, end in segments]
    spots = np.concatenate([*lines, [(asr.value, sbert.value) for _, asr, sbert in points]])
    return spots[np.isfinite(spots).all(axis=1)].T  # no interval: nothing to hide


@figure("safety", "The paper's numbers and ours")
def paper(results: Results, model: str) -> Figure:
    """Diamonds are published numbers (Okuda and Tsuruoka 2026), dots ours with intervals; on the right, paper / ours.
    ASR counts scores of 3 or more, as the paper does. A dot far from its diamond says that this study did not reproduce
    that number."""
    title, order = results.names.model(model), {run: place for place, run in enumerate(results.conditions())}
    # in the order of all figures and tables; conditions that the study does not plan come last
    numbers = sorted(of_model(results.published, model), key=lambda each: order.get(each.condition, len(order)))
    panels: dict[str, list[PaperComparison]] = {}
    for metric, label in METRICS.items():
        if found := [each for each in numbers if each.published.metric == metric]:
            panels[label] = found
    if not panels:
        return style.note(style.COLUMN, title, "the paper has no numbers for this model")
    rates = len({each.condition.lr for each in numbers} - {NONE}) > 1
    names = {each.condition: results.names.run(each.condition, rates) for each in numbers}
    rows = [len(found) for found in panels.values()]
    drawn = style.new_figure(style.COLUMN, sum(rows) * style.row_height(names.values()) + len(rows) * 0.8 + 0.35, title)
    grid = drawn.subplots(len(panels), 1, squeeze=False, height_ratios=[count + 1 for count in rows])
    for axes, (label, found) in zip(grid.flat, panels.items(), strict=True):
        _draw_numbers(axes, results, found)
        axes.set_yticks(range(len(found))[::-1], [style.wrapped(names[each.condition], style.NAME) for each in found])
        axes.set_title(label, loc="left")
        axes.set_xlabel(label)
    (theirs,) = axes.plot([], [], "D", color="white", markeredgecolor=style.INK, markersize=4)
    (ours,) = axes.plot([], [], "o", color=style.INK, markersize=3.5)
    style.legend(drawn, {"paper": theirs, "ours, with interval": ours}, columns=2)
    return drawn


def _draw_numbers(axes: Axes, results: Results, found: Sequence[PaperComparison]) -> None:
    for place, each in zip(np.arange(len(found))[::-1], found, strict=True):
        ours, published = each.ours, each.published.value
        axes.plot(published, place, "D", color="white", markeredgecolor=style.INK, markersize=4.5, zorder=3)
        if ours is None or math.isnan(ours.value):
            text = f"{published:.3f} / {NOT_RUN if ours is None else 'no scores'}"
        else:
            colour = style.method_colour(results, each.condition.method)
            spreads = style.spread([ours])
            axes.errorbar(ours.value, place, xerr=spreads, fmt="o", color=colour, markersize=3.5, capsize=1.6, zorder=4)
            text = f"{published:.3f} / {ours.value:.3f}"
        place_beside = axes.get_yaxis_transform()
        axes.text(1.01, place, text, transform=place_beside, va="center", fontsize=style.SMALLEST, color=style.GREY)
    axes.tick_params(axis="y", length=0)
    axes.set(ylabel="run", ylim=(-0.7, len(found) - 0.3))
    axes.margins(x=0.08)
    style.light_grid(axes, "x")


@figure("safety", "Over-refusal against ASR")
def over_refusals(results: Results, model: str) -> Figure:
    """A point per condition, crosses are intervals. A safe and useful model is at the lower left; one that is safe
    because it refuses everything is at the upper left."""
    title = results.names.model(model)
    points = []
    for run in results.conditions(model):
        judged = results.summary.get(run, "over_refusal")
        refused, asr = (
            results.summary.known(run, "over_refusal" if judged else "over_refusal_keywords"),
            results.summary.known(run, "asr"),
        )
        if refused and asr:
            points.append((run, asr, refused))
    if not points:
        return style.note(style.COLUMN, title, "no benign prompts in this study")
    drawn, (axes,) = style.panels(title, 1, 1, 3.2)
    for number, (run, asr, refused) in enumerate(points):
        look: dict[str, Any] = {"fmt": "o", "color": f"C{number}", "markersize": 3.5, "label": results.names.run(run)}
        axes.errorbar(asr.value, refused.value, style.spread([refused]), style.spread([asr]), **look)
    axes.set(xlabel=style.asr_label(results), ylabel="Benign prompts refused", xlim=SHARES, ylim=SHARES)
    style.light_grid(axes, "both")
    axes.legend(fontsize="x-small", loc="upper right")
    return drawn


@figure("judges", "ASR by judge")
def judges(results: Results, model: str) -> Figure:
    """A dot per judge and condition with its interval; a diamond is the judge's ASR corrected by people's labels. A
    claim that holds with one judge only is a claim about that judge."""
    title = results.names.model(model)
    names = {condition_name(run): results.names.run(run) for run in results.conditions(model)}
    rows = [row for row in results.judges if row.figure in MARKS and row.group in names]
    rows = [row for row in rows if not math.isnan(row.value)]  # too few labels for a correction
    if not rows:
        return style.note(style.COLUMN, title, "no judge has scored an answer")
    order = sorted({row.group for row in rows}, key=list(names).index)
    known = list(dict.fromkeys(row.judge for row in rows))
    drawn, (axes,) = style.panels(title, 1, 1, 1.0 + 0.16 * len(order) * (len(known) + 1))
    handles = {}
    for row in rows:
        number, corrected = known.index(row.judge), row.figure == "asr_corrected"
        place = order.index(row.group) + 0.7 * (number + 0.5 * corrected - (len(known) - 0.5) / 2) / len(known)
        reach = style.spread([Estimate(row.value, row.ci_low, row.ci_high, row.n)])
        look: dict[str, Any] = {"fmt": MARKS[row.figure], "color": f"C{number}", "markersize": 3.5, "capsize": 2}
        mark = axes.errorbar(row.value, place, xerr=reach, **look)
        handles[f"{row.judge}, corrected" if corrected else row.judge] = mark
    axes.set_yticks(range(len(order)), [names[name] for name in order])
    axes.invert_yaxis()
    axes.set(xlabel="ASR", xlim=SHARES)
    style.light_grid(axes, "x")
    style.legend(drawn, handles, columns=2)
    return drawn
