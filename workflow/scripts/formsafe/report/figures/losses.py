"""Loss curves: fine-tuning of the formats (the paper's figure 4), and split into format and content tokens."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from formsafe.analysis.curves import SOFT_PROMPT, Curve
from formsafe.analysis.roster import condition_of
from formsafe.core.records import NONE, Run
from formsafe.report.figures import style
from formsafe.report.registry import figure
from formsafe.report.results import Results

# Interior content: its tokens are the same in every format, so that the lines of the formats can be compared.
PARTS = {"format": "format tokens", "interior": "content tokens"}


@figure("training", "Training loss")
def loss(results: Results, model: str) -> Figure:
    """Loss of plain fine-tuning by format, in nats per token: lines on the training data, dots on the validation data.
    Lower lines for more formal formats agree with the paper (figure 4); dots that rise while the lines fall would say
    that a training learned its examples by heart."""
    title, stages = results.names.model(model), _stages(results, model, "all")
    trained = {stage: curves for stage, curves in stages.items() if stage.method != NONE}
    plain = {stage: curves for stage, curves in trained.items() if results.names.is_plain(stage.method)} or trained
    if not plain:
        return style.note(style.COLUMN, title, "nothing was trained")
    drawn, grid = style.panels(title, len(plain), 1, 2.1, 0.6, sharex=True)
    validation = _stages(results, model, "all", results.validation)
    handles: dict[str, Artist] = {}
    for axes, (stage, curves) in zip(grid, plain.items(), strict=True):
        handles |= _draw_curves(axes, results, curves)
        _draw_validation(axes, results, validation.get(stage, []))
        axes.set_title(_title(results, stage), loc="left")
        axes.set_ylabel("loss (nats per token)")
    grid[-1].set_xlabel("optimiser step")
    if validation:
        (handles["validation"],) = axes.plot([], [], "o", color="white", markeredgecolor=style.INK, markersize=3)
    style.legend(drawn, handles, columns=4)
    return drawn


@figure("training", "Loss on format and on content")
def loss_split(results: Results, model: str) -> Figure:
    """Training loss on tokens of the format (marks, keys, quotes) and on content tokens inside sentences, which are the
    same tokens in every format, a column per stage of training. If stage 1 (the soft prompt) has learned the format,
    stage 2 starts with a low loss on format tokens; a high start would speak against it."""
    title, parts = results.names.model(model), {part: _stages(results, model, part) for part in PARTS}
    stages = list(dict.fromkeys([*parts["format"], *parts["interior"]]))
    if not stages:
        return style.note(style.PAGE, title, "nothing was trained")
    columns = min(len(stages), 3)
    bands = math.ceil(len(stages) / columns)
    drawn, grid = style.panels(title, 2 * bands * columns, columns, 1.65, 0.6)
    for axes in grid:
        axes.set_axis_off()
    handles: dict[str, Artist] = {}
    for row, part in enumerate(PARTS):
        losses = [curve.loss.max() for curves in parts[part].values() for curve in curves]
        top = 1.05 * float(max(losses, default=1.0))
        for number, stage in enumerate(stages):
            axes = grid[(2 * (number // columns) + row) * columns + number % columns]
            handles |= _draw_part(axes, results, parts[part].get(stage, []), part, top)
            axes.set_title(_title(results, stage), loc="left")
    labels = map(results.names.format, results.names.formats(run.format for run in results.names.planned))
    style.legend(drawn, {label: handles[label] for label in labels if label in handles}, columns=4)
    return drawn


def _draw_part(axes: Axes, results: Results, curves: Sequence[Curve], part: str, top: float) -> dict[str, Artist]:
    axes.set_axis_on()
    handles = _draw_curves(axes, results, curves)
    axes.set(xlabel="optimiser step", ylabel=f"loss on {PARTS[part]}\n(nats per token)", ylim=(0, top))
    if not curves:
        axes.text(0.5, 0.5, "no such tokens", ha="center", va="center", transform=axes.transAxes)
    return handles


def _stages(results: Results, model: str, part: str, curves: Sequence[Curve] | None = None) -> dict[Run, list[Curve]]:
    """Curves by training (the run without format and seeds): stage 1 first, then the methods in the study's order."""
    curves = results.losses if curves is None else curves
    own = [curve for curve in curves if curve.run.model == model and curve.part == part]
    groups: dict[Run, list[Curve]] = {}
    for curve in own:
        if curve.stage == SOFT_PROMPT:
            groups.setdefault(curve.run.without("format", "seed", "data_seed"), []).append(curve)
    for run in results.main_conditions(model):
        found = [curve for curve in own if curve.stage != SOFT_PROMPT and condition_of(curve.run) == run]
        groups.setdefault(run.without("format", "seed", "data_seed"), []).extend(found)
    return {stage: curves for stage, curves in groups.items() if curves}


def _title(results: Results, stage: Run) -> str:
    name = results.names.training(stage)
    if stage.method == NONE:
        return style.wrapped(name.capitalize(), 30)
    return style.wrapped(name.replace("(stage 2)", "(stage\N{NO-BREAK SPACE}2)"), 30)


def _by_format(results: Results, curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    by_format: dict[str, list[Curve]] = {}
    for curve in curves:
        by_format.setdefault(curve.run.format, []).append(curve)
    return {name: by_format[name] for name in results.names.formats(by_format)}


def _draw_curves(axes: Axes, results: Results, curves: Sequence[Curve]) -> dict[str, Artist]:
    """One line per format: the mean over seeds, with the seeds themselves thin behind it. Returns label to line."""
    handles: dict[str, Artist] = {}
    for format, group in _by_format(results, curves).items():
        colour, line = style.format_style(results, format)
        length = min(len(curve.steps) for curve in group)
        for curve in group if len(group) > 1 else []:
            axes.plot(curve.steps, curve.loss, color=colour, linewidth=0.5, alpha=0.4)
        mean = np.mean([curve.loss[:length] for curve in group], axis=0)
        marker = "o" if length == 1 else None
        (drawn,) = axes.plot(group[0].steps[:length], mean, color=colour, linestyle=line, marker=marker)
        handles[results.names.format(format)] = drawn
    style.light_grid(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylim(bottom=0)
    return handles


def _draw_validation(axes: Axes, results: Results, curves: Sequence[Curve]) -> None:
    for format, group in _by_format(results, curves).items():
        colour, _ = style.format_style(results, format)
        for curve in group:
            axes.plot(curve.steps, curve.loss, "o", color="white", markeredgecolor=colour, markersize=3)
