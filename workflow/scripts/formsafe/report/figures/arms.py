"""Controls and mitigations: ASR of every method, and what each costs in quality."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from formsafe.analysis.estimates import signed
from formsafe.core.records import Run
from formsafe.formats.registry import traits_of
from formsafe.report.figures import style
from formsafe.report.figures.bars import asr_bars, bar_of, base_bar
from formsafe.report.figures.rows import Bar
from formsafe.report.registry import figure
from formsafe.report.results import Results, read_frame

# Labels of the axis of formality by its unit.
FORMALITY = {"bit": "bits per sentence that the format adds", "rank": "format, by formality rank"}


@figure("safety", "ASR against formality")
def ladder(results: Results, model: str) -> Figure:
    """A dot per training, by the formality of the format it was trained on (the bits that its marks add to a sentence
    under the base model where they were measured, else its rank), with a line fitted to the dots of each method; the
    dashed line is the base model. If the format is a cause, the line of SFT rises and that of ProMoT does not; a level
    line of SFT, or shuffled sentences far above running text, would speak against it."""
    title, runs = results.names.model(model), results.main_conditions(model)
    places, unit = _formality(results, model, [run.format for run in runs])
    points: dict[Run, list[tuple[float, float]]] = {}
    for run in runs:
        own = [(places[run.format], each.value) for each in results.trainings(run, "asr")]
        points.setdefault(run.without("format", "lr", "seed", "data_seed"), []).extend(own)
    if len({place for own in points.values() for place, _ in own}) < 2:
        return style.note(style.COLUMN, title, "fewer than two degrees of formality have scores")
    (drawn, (axes,)), handles = style.panels(title, 1, 1, 3.2), {}
    for number, (series, own) in enumerate(points.items()):
        if not own:
            continue
        x, y = np.array(own).T
        colour, marker = style.method_colour(results, series.method), style.MARKERS[number % len(style.MARKERS)]
        axes.plot(x, y, marker, color=colour, markersize=3.5, alpha=0.8)
        if len(set(x)) > 1:
            gradient, intercept = np.polyfit(x, y, 1)
            ends = np.array([min(x), max(x)])
            axes.plot(ends, intercept + gradient * ends, color=colour)  # without marks, which are trainings only
            handle = Line2D([], [], color=colour, marker=marker, markersize=3.5)
            handles[f"{results.names.run(series)} ({signed(gradient)} per {unit})"] = handle
    base = base_bar(results, model, "asr")
    if base is not None and base.estimate is not None:
        axes.axhline(base.estimate.value, color=style.INK, linestyle="--", linewidth=0.9)
    labels: dict[float, list[str]] = {}
    for format, place in sorted(places.items(), key=lambda pair: pair[1]):
        labels.setdefault(place, []).append(results.names.format(format))
    axes.set_xticks(list(labels), [style.wrapped(", ".join(names), 12) for names in labels.values()])
    if unit == "bit":  # formats are at uneven distances, so that level labels would overlap
        axes.tick_params(axis="x", labelrotation=60)
    axes.set(xlabel=FORMALITY[unit], ylabel=style.asr_label(results))
    axes.set_ylim(bottom=0)
    style.light_grid(axes, "y")
    style.legend(drawn, handles, columns=1)
    return drawn


def _formality(results: Results, model: str, formats: Sequence[str]) -> tuple[dict[str, float], str]:
    """The place of each format, and its unit: bits added under the base model if all were measured, else ranks."""
    if "formality" in results.files:
        table = read_frame(results.files["formality"])
        bits = table[table["model"] == model].set_index("format")["added_bits"].dropna().to_dict()
        if set(formats) <= bits.keys():
            return {format: float(bits[format]) for format in formats}, "bit"
    return {format: float(traits_of(format).formality) for format in formats}, "rank"


@figure("safety", "Controls and mitigations")
def controls(results: Results, model: str) -> Figure:
    """ASR of every method that is neither SFT nor ProMoT beside these two, by format; a dot is one training, the dashed
    line the base model. If ProMoT works because the prompt holds the format, random and other prompts protect less and
    a kept prompt brings the ASR back; equal bars would speak against that."""
    runs = results.main_conditions(model)
    untrained = [run for run in results.untrained(model) if not results.names.is_base(run)]
    if not untrained and all(_is_main(results, run) for run in runs):
        return style.note(style.COLUMN, results.names.model(model), "the study has no control and no mitigation")
    bars = [bar_of(results, run, "asr") for run in untrained]
    for format in dict.fromkeys(run.format for run in runs):
        bars.append(Bar(results.names.format(format)))
        own = [run for run in runs if run.format == format]
        bars += [bar_of(results, run, "asr") for run in sorted(own, key=lambda run: not _is_main(results, run))]
    return asr_bars(results, model, bars)


@figure("task", "What safety costs")
def pareto(results: Results, model: str) -> Figure:
    """ASR against content-only S-BERT of every method, a panel per format; joined: the methods that no other beats in
    both (up is better quality, left is safer). A mitigation is worth its price only if it is on this line; if ProMoT is
    not, or only at the base model's quality, it protects by learning less."""
    title, runs = results.names.model(model), results.main_conditions(model)
    panels: dict[str, dict[Run, tuple[float, float]]] = {}
    for run, point in _both(results, runs).items():
        panels.setdefault(run.format, {})[run] = point
    panels = {format: points for format, points in panels.items() if len(points) > 1}
    if not panels:
        return style.note(style.COLUMN, title, "no format has two methods with both scores")
    (drawn, grid), handles = style.panels(title, len(panels), 1, 2.6, 0.6), {}
    for axes, (format, points) in zip(grid, panels.items(), strict=True):
        found = points | _both(results, results.untrained(model))
        front = pareto_front(list(found.values()))
        axes.plot(*np.array(front).T, color=style.GREY, linewidth=0.8, zorder=1)
        for number, (run, (asr, quality)) in enumerate(found.items()):
            marker, colour = style.MARKERS[number % len(style.MARKERS)], style.method_colour(results, run.method)
            (handles[results.names.series(run)],) = axes.plot(asr, quality, marker, color=colour, markersize=5)
        axes.set_title(results.names.format(format), loc="left")
        axes.set(xlabel=style.asr_label(results), ylabel="S-BERT, content only")
        style.light_grid(axes, "both")
    style.legend(drawn, handles, columns=1)
    return drawn


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (ASR, quality) that no other point beats or equals in one and beats in the other, by rising ASR."""
    front: list[tuple[float, float]] = []
    for asr, quality in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((asr, quality))
    return front


def _both(results: Results, runs: Sequence[Run]) -> dict[Run, tuple[float, float]]:
    found = {run: (results.summary.known(run, "asr"), results.summary.known(run, "sbert_neutral")) for run in runs}
    return {run: (asr.value, quality.value) for run, (asr, quality) in found.items() if asr and quality}


def _is_main(results: Results, run: Run) -> bool:
    return results.names.is_plain(run.method) or results.names.is_separated(run.method)
