"""Loss curves: fine-tuning of the formats (the paper's figure 4), and told apart into format and content tokens."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from formsafe.curves import SOFT_PROMPT, Curve
from formsafe.figures.style import (
    COLUMN,
    FORMAT_COLOURS,
    FORMAT_LINES,
    GREEN,
    PAGE,
    Study,
    light_grid,
    new_figure,
    note,
    wrapped,
)
from formsafe.grid import Run

PART_TITLES = {"format": "format tokens", "content": "content tokens"}
LOSS = "training loss (nats a token)"


def draw_loss(study: Study) -> Figure:
    """Training loss of plain fine-tuning, a line a format; of all methods where there is no plain one."""
    groups = {key: curves for key, curves in _stages(study, "all").items() if key[0] != SOFT_PROMPT}
    plain = {key: curves for key, curves in groups.items() if study.names.is_plain(key[0])}
    groups = plain or groups
    if not groups:
        return note(COLUMN, study.title, "nothing was trained")
    figure = new_figure(COLUMN, 0.5 + 1.9 * len(groups), study.title)
    grid = figure.subplots(len(groups), 1, squeeze=False, sharex=True)
    for axes, (key, curves) in zip(grid.flat, groups.items(), strict=True):
        _draw_curves(axes, study, curves)
        axes.set_title(_stage_title(study, key), loc="left")
        axes.set_ylabel(LOSS)
        axes.legend(handlelength=2.4)
    grid.flat[-1].set_xlabel("optimiser step")
    return figure


def draw_loss_split(study: Study) -> Figure:
    """Loss on format tokens (top) and on content tokens (bottom), a column a stage of training."""
    parts = {part: _stages(study, part) for part in PART_TITLES}
    stages = list(dict.fromkeys(key for groups in parts.values() for key in groups))
    if not stages:
        return note(PAGE, study.title, "nothing was trained")
    columns = min(len(stages), 3)
    bands = -(-len(stages) // columns)
    figure = new_figure(PAGE if columns > 1 else COLUMN, 0.4 + 3.3 * bands, study.title)
    grid = figure.subplots(2 * bands, columns, squeeze=False, sharey=False)
    for axes in grid.flat:
        axes.set_axis_off()
    tops = {part: _top(curves for group in groups.values() for curves in group) for part, groups in parts.items()}
    for number, stage in enumerate(stages):
        for row, (part, title) in enumerate(PART_TITLES.items()):
            axes = grid[2 * (number // columns) + row, number % columns]
            axes.set_axis_on()
            curves = parts[part].get(stage, [])
            _draw_curves(axes, study, curves)
            axes.set_ylim(0, tops[part])
            axes.set_title(wrapped(_stage_title(study, stage), 30), loc="left")
            axes.set_xlabel("optimiser step")
            axes.set_ylabel(f"loss on {title}\n(nats a token)")
            if curves:
                axes.legend(handlelength=2.4)
            else:
                axes.text(0.5, 0.5, "no such tokens", ha="center", va="center", transform=axes.transAxes)
    return figure


def _stages(study: Study, part: str) -> dict[tuple[str, str], list[Curve]]:
    """Curves by (method or soft prompt, rate): stage 1 first, then the methods in the study's order."""
    main = study.names.main_conditions(study.model)
    drawn = {(run.method, run.format, run.lr) for run in main}
    own = [curve for curve in study.curves if curve.run.model == study.model and curve.part == part]
    groups: dict[tuple[str, str], list[Curve]] = {}
    series = list(dict.fromkeys((run.method, run.lr) for run in main))
    formats = list(dict.fromkeys(run.format for run in main))

    def place(curve: Curve) -> tuple[int, int]:
        key = (curve.run.method, curve.run.lr)
        first = -1 if curve.stage == SOFT_PROMPT else series.index(key) if key in series else len(series)
        return first, formats.index(curve.run.format) if curve.run.format in formats else len(formats)

    for curve in sorted(own, key=place):
        run = curve.run
        if curve.stage == SOFT_PROMPT:
            groups.setdefault((SOFT_PROMPT, ""), []).append(curve)
        elif (run.method, run.format, run.lr) in drawn:
            groups.setdefault((run.method, run.lr), []).append(curve)
    return groups


def _top(curves: Iterable[Curve]) -> float:
    """Where the loss axis of a kind of token ends, in all stages: the end of stage 1 is to be seen beside stage 2."""
    return 1.05 * max((float(curve.loss.max()) for curve in curves), default=1.0)


def _stage_title(study: Study, stage: tuple[str, str]) -> str:
    method, rate = stage
    if method == SOFT_PROMPT:
        return "Soft prompt (stage 1)"
    second = " (stage 2)" if study.names.is_separated(method) else ""
    return study.names.series(Run(study.model, method, "", rate)) + second


def _draw_curves(axes: Axes, study: Study, curves: Sequence[Curve]) -> None:
    """One line a format: the mean over seeds, with the seeds themselves thin behind it."""
    by_format: dict[str, list[Curve]] = {}
    for curve in curves:
        by_format.setdefault(curve.run.format, []).append(curve)
    for format, group in by_format.items():
        colour, line = FORMAT_COLOURS.get(format, GREEN), FORMAT_LINES.get(format, "-.")
        length = min(len(curve.steps) for curve in group)
        if len(group) > 1:
            for curve in group:
                axes.plot(curve.steps, curve.loss, color=colour, linewidth=0.5, alpha=0.4)
        mean = np.mean([curve.loss[:length] for curve in group], axis=0)
        marker = "o" if length == 1 else None
        axes.plot(
            group[0].steps[:length], mean, color=colour, linestyle=line, marker=marker, label=study.names.format(format)
        )
    light_grid(axes, "y")
    axes.set_ylim(bottom=0)
