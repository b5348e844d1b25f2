"""How all figures look, and how they are written: equal data give equal bytes."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from formsafe.analysis.estimates import Estimate
from formsafe.core.files import replacing
from formsafe.core.records import NONE
from formsafe.report.results import Results

COLUMN, PAGE = 85 / 25.4, 180 / 25.4  # inches: the widths of one column and of a page in print, 85 and 180 mm
NAME = 24  # characters per line of a row's name
ROW, MORE = 0.19, 0.12  # inches per row whose name takes one line, and for each further line
SMALLEST = 7  # points: below this, print cannot be read
# Okabe and Ito's colours, distinct under every common colour blindness; hatches and lines distinguish them in grey.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
GREY, INK = "#6B6B6B", "#222222"
METHOD_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----")
MARKERS = ("o", "s", "^", "D", "v", "P")
Line = str | tuple[int, tuple[int, ...]]  # as matplotlib takes it
FORMAT_COLOURS = (BLUE, ORANGE, VERMILION, GREEN, PURPLE, SKY)
FORMAT_LINES: tuple[Line, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (7, 3)), (0, (1, 3)))
RC: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.edgecolor": INK,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "formsafe",
    **dict.fromkeys(("xtick.labelsize", "legend.fontsize"), SMALLEST),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("figure.dpi", "savefig.dpi"), 200),
    "text.parse_math": False,  # a `$` in a label is a dollar; without this "$5 and $6" turns into mathematics
    "text.hinting": "none",  # texts are equally wide at every resolution: one layout fits PNG, SVG and PDF
    "pdf.fonttype": 42,  # TrueType, embedded: journals refuse the default, Type 3
}
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, in inches, that lays itself out under its title, however long."""
    # Letters of 8 points: 18 per inch on average, 10 of the widest, so that lines of 13 per inch run over the edge in
    # capitals only; a line of them is 0.14 inches high.
    lines = wrapped(title, int(13 * width))
    figure = Figure(figsize=(width, height + 0.14 * lines.count("\n")), layout="constrained")
    figure.suptitle(lines, fontsize=8, x=0.01, ha="left")
    return figure


def panels(
    title: str, count: int, columns: int, height: float, more: float = 0.0, **options: Any
) -> tuple[Figure, list[Axes]]:
    """An empty figure of `count` panels of `height` inches in `columns` columns, `more` inches higher; and its axes."""
    rows = math.ceil(count / columns)
    figure = new_figure(PAGE if columns > 1 else COLUMN, more + rows * height, title)
    grid = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def wrapped(text: str, width: int) -> str:
    """Break a long text into lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width, break_long_words=True)) or text


def row_height(names: Iterable[str]) -> float:
    """Height in inches of rows with these names, each broken into lines of `NAME` characters."""
    return ROW + MORE * max((wrapped(name, NAME).count("\n") for name in names), default=0)


def spread(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths [2, n] of the error bars below and above the values."""
    # Rounded limits can be a last digit inside the value; matplotlib refuses negative error bars.
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


def legend(figure: Figure, handles: Mapping[str, Any], columns: int, length: float = 2.2) -> None:
    """Write what each handle (line, bar or points) is, below all panels."""
    labels = [wrapped(label, 2 * NAME) for label in handles]
    figure.legend(list(handles.values()), labels, loc="outside lower center", ncols=columns, handlelength=length)


NOTHING = "nothing-to-draw"  # the id of such a figure in its SVG file, by which the page leaves it out


def note(width: float, title: str, text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(width, 0.9, title)
    figure.set_gid(NOTHING)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, wrapped(text, 2 * NAME), ha="center", va="center", color=GREY, transform=axes.transAxes)
    return figure


def method_place(results: Results, method: str) -> int | None:
    """A method's place among colours, hatches and markers, the same in every figure; None without training."""
    settings = results.names.methods
    trained = [name for name in settings if settings[name].get("trained", True)]
    return trained.index(method) % len(METHOD_COLOURS) if method in trained else None


def method_colour(results: Results, method: str) -> str:
    """A method's colour; grey without training."""
    place = method_place(results, method)
    return GREY if place is None else METHOD_COLOURS[place]


def format_style(results: Results, format: str) -> tuple[str, Line]:
    """A format's colour and line, the same in every figure: by its place in the study's order of formats."""
    order = results.names.formats({format, *(run.format for run in results.names.planned)} - {NONE})
    place = order.index(format)
    # after six formats the colours start again, with other lines
    return FORMAT_COLOURS[place % len(FORMAT_COLOURS)], FORMAT_LINES[place % len(FORMAT_LINES)]


def asr_label(results: Results) -> str:
    """Label of an ASR axis."""
    return f"ASR ({results.words['axis']})"


def light_grid(axes: Axes, which: str) -> None:
    """Faint lines to read values by, behind the data."""
    axes.grid(axis=which, color="#DDDDDD", linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
