"""The paper's numbers beside ours."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from formsafe.figures.bars import LABEL, ROW
from formsafe.figures.style import COLUMN, GREY, INK, Study, light_grid, method_colour, new_figure, note, wrapped
from formsafe.paper import NOT_RUN, Comparison, of_model

PANELS = {"asr": "ASR", "rouge_l": "ROUGE-L", "sbert": "S-BERT (cosine)"}


def draw_published(study: Study) -> Figure:
    """Published value (diamond) and ours with its interval (dot), a panel a metric, a row a published number."""
    numbers = of_model(study.published, study.model)
    panels = {label: [each for each in numbers if each.published.metric == metric] for metric, label in PANELS.items()}
    panels = {label: found for label, found in panels.items() if found}
    if not panels:
        return note(COLUMN, study.title, "the paper has no numbers for this model")
    rows = [len(found) for found in panels.values()]
    figure = new_figure(COLUMN, sum(rows) * ROW + len(rows) * 0.62 + 0.35, study.title)
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[count + 1 for count in rows])
    for axes, (label, found) in zip(grid.flat, panels.items(), strict=True):
        _draw_panel(axes, study, found)
        axes.set_xlabel(label)
    handles = [
        axes.plot([], [], "D", color="white", markeredgecolor=INK, markersize=4, label="paper")[0],
        axes.plot([], [], "o", color=INK, markersize=3.5, label="ours, with interval")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw_panel(axes: Axes, study: Study, found: Sequence[Comparison]) -> None:
    places = np.arange(len(found))[::-1]
    for place, each in zip(places, found, strict=True):
        ours, published = each.ours, each.published.value
        axes.plot(published, place, "D", color="white", markeredgecolor=INK, markersize=4.5, zorder=3)
        if ours is None or math.isnan(ours.value):
            text = f"{published:.3f} / {NOT_RUN if ours is None else 'no scores'}"
        else:
            spread = [[max(0.0, ours.value - ours.low)], [max(0.0, ours.high - ours.value)]]
            colour = method_colour(study, each.condition.method)
            axes.errorbar(ours.value, place, xerr=spread, fmt="o", color=colour, markersize=3.5, capsize=1.6, zorder=4)
            text = f"{published:.3f} / {ours.value:.3f}"
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=6, color=GREY)
    axes.set_yticks(places, [wrapped(study.names.run(each.condition), LABEL) for each in found])
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("run")
    axes.set_ylim(-0.7, len(found) - 0.3)
    axes.margins(x=0.08)
    light_grid(axes, "x")
