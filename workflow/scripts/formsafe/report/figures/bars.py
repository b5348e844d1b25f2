"""Horizontal bars, a row per run: ASR (the paper's figures 3 and 5), ASR by source, scores, format leakage."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from formsafe.core.records import NONE, Run
from formsafe.formats.registry import traits_of
from formsafe.report.figures import style
from formsafe.report.figures.rows import Bar, draw_bars, frame_rows, height, write_missing
from formsafe.report.registry import figure
from formsafe.report.results import Results, read_frame

HEADING = 0.25  # inches that a panel's heading takes
TALL = 4.0  # inches: panels higher than this are drawn side by side, so that the figure stays on a page
PANELS = {"": "answers to the task's prompts", "harmful_": "answers to harmful prompts"}
RAMP = LinearSegmentedColormap.from_list("scores", ["#F7F2E4", "#F2D49B", "#E8925A", "#B8455A", "#54224F"])
PAPERS_SCALE = range(1, 6)
MOST_KEYS = 11  # scores that the legend names
UNSCORED = -1  # scores are 0 or more
CONDITION = ("model", "method", "format", "lr", "examples")  # what runs of one condition have in common


@figure("safety", "Attack success rate")
def asr(results: Results, model: str) -> Figure:
    """Share of answers to harmful prompts that the judge {scored}, by format and method, with intervals; a dot is
    one training, the dashed line the base model. Bars of one method that are equally long over the formats would speak
    against an effect of the format; ProMoT bars as long as those of SFT against ProMoT."""
    title, bars = results.names.model(model), condition_bars(results, model, "asr")
    if not bars:
        return style.note(style.COLUMN, title, "no runs")
    return asr_bars(results, model, bars)


def asr_bars(results: Results, model: str, bars: Sequence[Bar]) -> Figure:
    """A figure of one panel: the ASR of `bars`, with the base model as a line."""
    drawn, (axes,) = style.panels(results.names.model(model), 1, 1, height(bars) + HEADING)
    draw_bars(axes, results, bars, style.asr_label(results), line=base_bar(results, model, "asr"))
    return drawn


@figure("safety", "Attack success rate by source")
def asr_by_source(results: Results, model: str) -> Figure:
    """The same for each source of harmful prompts. Small sources have wide intervals; an order of the bars that differs
    from source to source would speak against one effect behind them all."""
    title = results.names.model(model)
    panels = {name: condition_bars(results, model, name) for name in results.summary.metrics("asr[")}
    if not any(panels.values()):
        return style.note(style.PAGE, title, "no scored answers")
    tall = height(next(iter(panels.values()))) + HEADING
    columns = min(len(panels), 2 if tall <= TALL else 4)
    drawn, grid = style.panels(title, len(panels), columns, tall)
    for number, (axes, (name, bars)) in enumerate(zip(grid, panels.items(), strict=True)):
        line = base_bar(results, model, name)
        draw_bars(axes, results, bars, style.asr_label(results), names=number % columns == 0, line=line)
        source = results.names.source(name.removeprefix("asr[").removesuffix("]"))
        axes.set_title(style.wrapped(source, style.NAME), loc="left", pad=14)
    return drawn


@figure("judges", "Scores that the judge gave")
def scores(results: Results, model: str) -> Figure:
    """Share of each score among all answers of a run, {range}; hatched: answers without a score.{near}"""
    title, bars = results.names.model(model), condition_bars(results, model, "asr")
    if not any(bar.run is not None and results.summary.has_run(bar.run) for bar in bars):
        return style.note(style.COLUMN, title, "no scored answers")
    drawn, (axes,) = style.panels(title, 1, 1, height(bars) + HEADING)
    shares = score_shares(results, [bar.run for bar in bars if bar.run is not None])
    places = frame_rows(axes, bars, "share of answers")
    levels = _levels({level for found in shares.values() for level in found})
    for place, bar in zip(places, bars, strict=True):
        if bar.run is not None and bar.run not in shares:
            write_missing(axes, place, bar)
        left = 0.0
        for level, share in shares.get(bar.run, {}).items() if bar.run else ():
            axes.barh(place, share, left=left, height=0.72 * style.ROW, **_fill(level, levels))
            left += share
    named = levels[:: math.ceil(len(levels) / MOST_KEYS)]
    keys = {str(level): axes.barh(0, 0, **_fill(level, levels)) for level in named}
    keys["no score"] = axes.barh(0, 0, **_fill(UNSCORED, levels))
    style.legend(drawn, keys, columns=6, length=1.2)
    return drawn


def _levels(given: set[int]) -> Sequence[int]:
    """All scores of the judge's scale, as far as the scores tell: the paper's 1 to 5, 0 and 1 of labels, or others."""
    given = given - {UNSCORED}
    return PAPERS_SCALE if given <= set(PAPERS_SCALE) else range(min(given), max(given) + 1)


def _fill(level: int, levels: Sequence[int]) -> dict[str, Any]:
    place = (level - levels[0]) / max(1, levels[-1] - levels[0])  # light is harmless, also in grey
    colour = {"color": "white", "hatch": "////"} if level == UNSCORED else {"color": RAMP(place)}
    return {"edgecolor": style.INK, "linewidth": 0.3, **colour}


@figure("task", "Format leakage")
def leakage(results: Results, model: str) -> Figure:
    """Share of answers wholly in the format of the training data, although nobody asked for it; grey: how often the
    base model writes so by itself. ProMoT drops the soft prompt, so its format should not show: bars as long as those
    of SFT would speak against that."""
    title = results.names.model(model)
    panels = {label: leakage_bars(results, model, prefix) for prefix, label in PANELS.items()}
    if not any(bar.estimate for bar in panels[PANELS[""]] + panels[PANELS["harmful_"]]):
        return style.note(style.PAGE, title, "no run was trained on a format with marks of its own")
    drawn, grid = style.panels(title, len(panels), len(panels), height(panels[PANELS[""]]) + HEADING)
    for number, (axes, (label, bars)) in enumerate(zip(grid, panels.items(), strict=True)):
        draw_bars(axes, results, bars, "share of answers wholly in that format", names=number == 0)
        axes.set_title(label, loc="left")
    return drawn


def condition_bars(results: Results, model: str, metric: str) -> list[Bar]:
    """Rows of a figure: the base model and what needs no training, then under each format's name its methods."""
    bars = [bar_of(results, run, metric) for run in results.untrained(model)]
    trained = results.main_conditions(model)
    for format in dict.fromkeys(run.format for run in trained):
        bars.append(Bar(results.names.format(format)))
        bars += [bar_of(results, run, metric) for run in trained if run.format == format]
    return bars


def leakage_bars(results: Results, model: str, prefix: str) -> list[Bar]:
    """Rows: under each format its base rate in the base model, then each method trained on it."""
    conditions = results.main_conditions(model)
    trained = [run for run in conditions if not traits_of(run.format).plain]  # any text is plain: nothing can leak
    bars: list[Bar] = []
    for format in dict.fromkeys(run.format for run in trained):
        bars.append(Bar(results.names.format(format)))
        bases = [run for run in results.names.bases(model) if results.summary.has_run(run)]
        bars += [bar_of(results, run, f"{prefix}leak_strict[{format}]") for run in bases]
        bars += [bar_of(results, run, f"{prefix}leak_strict") for run in trained if run.format == format]
    return bars


def bar_of(results: Results, run: Run, metric: str) -> Bar:
    """The row of a condition; a base model has no trainings to draw as dots."""
    reason = "no scores" if results.summary.has_run(run) else "not run"
    dots = tuple(results.trainings(run, metric)) if run.format != NONE else ()
    return Bar(results.names.series(run), run, results.summary.known(run, metric), reason, dots)


def base_bar(results: Results, model: str, metric: str) -> Bar | None:
    """The base model's row, if it has scores."""
    bars = [bar_of(results, run, metric) for run in results.names.bases(model)]
    return next((bar for bar in bars if bar.estimate), None)


def score_shares(results: Results, runs: Sequence[Run]) -> dict[Run, dict[int, float]]:
    """Run to the share of answers by score, over all its trainings; `UNSCORED`: answers without a score, last."""
    scores = read_frame(results.files["scores"])
    scores = scores[(scores["prompts"] == "harmful") & (scores["metric"] == "score")]
    found = {}
    for run in runs:
        own = np.logical_and.reduce([scores[name] == getattr(run, name) for name in CONDITION])
        if own.any():
            shares = scores["value"][own].round().fillna(math.inf).value_counts(normalize=True).sort_index()
            found[run] = {UNSCORED if math.isinf(level) else int(level): share for level, share in shares.items()}
    return found
