"""How all figures look, and how they are written: equal data give equal bytes."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from formsafe.analysis.curves import Curve
from formsafe.analysis.estimates import Estimate, Summary
from formsafe.analysis.paper import Comparison
from formsafe.analysis.roster import Names
from formsafe.config.grid import NONE
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.files import replacing
from formsafe.formats.registry import and_the_papers

COLUMN, PAGE = 3.5, 7.1  # inches: one column and the width of a page
NAME = 24  # characters a line of a row's name
ROW, MORE = 0.19, 0.11  # inches a row whose name takes one line, and for each further line
# Okabe and Ito's colours, told apart under every common colour blindness.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
GREY, INK = "#7F7F7F", "#222222"
METHOD_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
Line = str | tuple[int, tuple[int, ...]]  # as matplotlib takes it
PAPER_STYLES: tuple[tuple[str, Line], ...] = ((BLUE, "-"), (ORANGE, "--"), (VERMILION, ":"))  # of its formats
MORE_COLOURS: tuple[str, ...] = (GREEN, PURPLE, SKY)
MORE_LINES: tuple[Line, ...] = ("-.", (0, (6, 1, 1, 1, 1, 1)), (0, (7, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.4,
    "svg.hashsalt": "formsafe",
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "text.hinting": "none",  # texts are equally wide at every resolution: one layout fits PNG, SVG and PDF
    "pdf.fonttype": 42,
}
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


@dataclass(frozen=True)
class Study:
    """What the figures of one model are drawn from."""

    model: str
    names: Names
    summary: Summary
    curves: list[Curve]
    published: list[Comparison]
    threshold: int
    settings: AnalysisSettings

    @property
    def title(self) -> str:
        """The model's label."""
        return self.names.model(self.model)


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, in inches, that lays itself out under its title, however long."""
    lines = wrapped(title, int(13 * width))
    figure = Figure(figsize=(width, height + 0.14 * lines.count("\n")), layout="constrained")
    figure.suptitle(lines, fontsize=8, x=0.01, ha="left")
    return figure


def wrapped(text: str, width: int) -> str:
    """Break a long text into lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width, break_long_words=True)) or text


def row_height(names: Iterable[str]) -> float:
    """Height in inches of rows with these names, each broken into lines of `NAME` characters."""
    return ROW + MORE * max((wrapped(name, NAME).count("\n") for name in names), default=0)


def spread(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths [2, n] of the error bars below and above the values."""
    lower = [max(0.0, each.value - each.low) for each in estimates]
    return [lower, [max(0.0, each.high - each.value) for each in estimates]]


def save(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Write a figure in the formats of the paths' endings, without dates."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: the formats are equal, and it takes most of the time
    for path in paths:
        kind = Path(path).suffix.lstrip(".")
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=METADATA[kind])


def note(width: float, title: str, text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(width, 0.9, title)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)
    return figure


def method_colour(study: Study, method: str) -> str:
    """A method's colour, the same in every figure; grey for the base model."""
    settings = study.names.methods
    trained = [name for name in settings if settings[name].get("trained", True)]
    return METHOD_COLOURS[trained.index(method) % len(METHOD_COLOURS)] if method in trained else GREY


def format_style(study: Study, format: str) -> tuple[str, Line]:
    """A format's colour and line, the same in every figure; the paper's have their own, nine more differ by place."""
    papers = and_the_papers([])
    if format in papers:
        return PAPER_STYLES[papers.index(format)]
    place = sorted({format, *(run.format for run in study.names.planned)} - {NONE, *papers}).index(format)
    shift = place + place // len(MORE_COLOURS)
    return MORE_COLOURS[place % len(MORE_COLOURS)], MORE_LINES[shift % len(MORE_LINES)]


def asr_label(study: Study) -> str:
    """Label of an ASR axis."""
    return f"ASR (scores ≥ {study.threshold})"


def light_grid(axes: Axes, which: str) -> None:
    """Faint lines to read values by, behind the data."""
    axes.grid(axis=which, color="#DDDDDD", linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
