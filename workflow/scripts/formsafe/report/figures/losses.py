"""Loss curves: fine-tuning of the formats (the paper's figure 4), and told apart into format and content tokens."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from formsafe.analysis.curves import SOFT_PROMPT, Curve
from formsafe.config.grid import NONE, Run
from formsafe.report.figures.style import (
    COLUMN,
    PAGE,
    Study,
    format_style,
    light_grid,
    new_figure,
    note,
    wrapped,
)

PARTS = {"format": "format tokens", "content": "content tokens"}
STAGE_1 = Run("", SOFT_PROMPT)


def draw_loss(study: Study) -> Figure:
    """Training loss of plain fine-tuning, a line a format; of all methods where there is no plain one."""
    stages = {stage: curves for stage, curves in _stages(study, "all").items() if stage != STAGE_1}
    stages = {stage: curves for stage, curves in stages.items() if study.names.is_plain(stage.method)} or stages
    if not stages:
        return note(COLUMN, study.title, "nothing was trained")
    figure = new_figure(COLUMN, 0.5 + 1.9 * len(stages), study.title)
    grid = figure.subplots(len(stages), 1, squeeze=False, sharex=True)
    for axes, (stage, curves) in zip(grid.flat, stages.items(), strict=True):
        _draw_curves(axes, study, curves)
        axes.set_title(_title(study, stage), loc="left")
        axes.set_ylabel("training loss (nats a token)")
        axes.legend(handlelength=2.4)
    grid.flat[-1].set_xlabel("optimiser step")
    return figure


def draw_loss_split(study: Study) -> Figure:
    """Loss on format tokens (top) and on content tokens (bottom), a column a stage of training, one scale a kind."""
    parts = {part: _stages(study, part) for part in PARTS}
    stages = list(dict.fromkeys(stage for found in parts.values() for stage in found))
    if not stages:
        return note(PAGE, study.title, "nothing was trained")
    columns = min(len(stages), 3)
    bands = -(-len(stages) // columns)
    figure = new_figure(PAGE if columns > 1 else COLUMN, 0.6 + 3.3 * bands, study.title)
    grid = figure.subplots(2 * bands, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    handles: dict[str, Artist] = {}
    for row, (part, label) in enumerate(PARTS.items()):
        top = 1.05 * max((curve.loss.max() for curves in parts[part].values() for curve in curves), default=1.0)
        for number, stage in enumerate(stages):
            axes = grid[2 * (number // columns) + row, number % columns]
            axes.set_axis_on()
            _draw_curves(axes, study, parts[part].get(stage, []))
            axes.set_ylim(0, top)
            axes.set_title(_title(study, stage), loc="left")
            axes.set_xlabel("optimiser step")
            axes.set_ylabel(f"loss on {label}\n(nats a token)")
            handles |= {name: line for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
            if stage not in parts[part]:
                axes.text(0.5, 0.5, "no such tokens", ha="center", va="center", transform=axes.transAxes)
    labels = [study.names.format(format) for format in study.names.formats(_formats(parts))]
    figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=3, handlelength=2.4)
    return figure


def _formats(parts: Mapping[str, Mapping[Run, Sequence[Curve]]]) -> list[str]:
    return [curve.run.format for stages in parts.values() for curves in stages.values() for curve in curves]


def _stages(study: Study, part: str) -> dict[Run, list[Curve]]:
    """Curves by training (the run without format and seed): stage 1 first, then the methods in the study's order."""
    own = [curve for curve in study.curves if curve.run.model == study.model and curve.part == part]
    main = study.names.main_conditions(study.model)
    groups = {STAGE_1: [curve for curve in own if curve.stage == SOFT_PROMPT]}
    for run in main:
        found = [curve for curve in own if curve.stage != SOFT_PROMPT and _key(curve.run) == _key(run)]
        groups.setdefault(Run(run.model, run.method, NONE, run.lr), []).extend(found)
    return {stage: curves for stage, curves in groups.items() if curves}


def _key(run: Run) -> tuple[str, str, str]:
    return run.method, run.format, run.lr


def _title(study: Study, stage: Run) -> str:
    if stage == STAGE_1:
        return "Soft prompt (stage 1)"
    second = " (stage\N{NO-BREAK SPACE}2)" if study.names.methods.get(stage.method, {}).get("soft_prompt") else ""
    return wrapped(study.names.series(stage) + second, 30)


def _draw_curves(axes: Axes, study: Study, curves: Sequence[Curve]) -> None:
    """One line a format: the mean over seeds, with the seeds themselves thin behind it."""
    by_format: dict[str, list[Curve]] = {}
    for curve in curves:
        by_format.setdefault(curve.run.format, []).append(curve)
    for format in study.names.formats(by_format):
        group = by_format[format]
        colour, line = format_style(study, format)
        length = min(len(curve.steps) for curve in group)
        for curve in group if len(group) > 1 else []:
            axes.plot(curve.steps, curve.loss, color=colour, linewidth=0.5, alpha=0.4)
        axes.plot(
            group[0].steps[:length],
            np.mean([curve.loss[:length] for curve in group], axis=0),
            color=colour,
            linestyle=line,
            marker="o" if length == 1 else None,
            label=study.names.format(format),
        )
    light_grid(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylim(bottom=0)
