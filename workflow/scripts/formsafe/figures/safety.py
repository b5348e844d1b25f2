"""ASR by format and method (the paper's figures 3 and 5), and by source of the harmful prompts."""

from collections.abc import Callable

from matplotlib.figure import Figure

from formsafe.estimates import Estimate
from formsafe.figures.bars import Bar, draw_bars, height, set_limit
from formsafe.figures.style import COLUMN, PAGE, Study, asr_label, method_colour, new_figure, note
from formsafe.grid import Run


def condition_bars(study: Study, metric: str, wanted: Callable[[Run], bool] = lambda run: True) -> list[Bar]:
    """Rows of a figure: the base model, then under each format's name its methods."""
    names = study.names
    conditions = [run for run in names.conditions(study.model) if names.is_base(run)]
    bars = [_bar(study, run, metric) for run in conditions if wanted(run)]
    trained = [run for run in names.main_conditions(study.model) if wanted(run)]
    for format in dict.fromkeys(run.format for run in trained):
        bars.append(Bar(names.format(format)))
        bars += [_bar(study, run, metric) for run in trained if run.format == format]
    return bars


def _bar(study: Study, run: Run, metric: str) -> Bar:
    estimate = study.summary.get(run, metric)
    reason = "no scores" if study.summary.has_run(run) else "not run"
    return Bar(study.names.series(run), estimate, method_colour(study, run.method), reason)


def base_estimate(study: Study, metric: str) -> Estimate | None:
    """The base model's value, if it ran."""
    bases = [run for run in study.names.conditions(study.model) if study.names.is_base(run)]
    return study.summary.get(bases[0], metric) if bases else None


def draw_asr(study: Study) -> Figure:
    """ASR with intervals by format and method, the base model as a line."""
    bars = condition_bars(study, "asr")
    if not bars:
        return note(COLUMN, study.title, "no runs")
    figure = new_figure(COLUMN, height(bars), study.title)
    axes = figure.add_subplot()
    draw_bars(axes, bars, asr_label(study), line=base_estimate(study, "asr"))
    return figure


def draw_asr_by_source(study: Study) -> Figure:
    """The same for each source of harmful prompts, a panel each on one scale."""
    metrics = [name for name in study.summary.metrics("asr[")]
    panels = [(name, condition_bars(study, name)) for name in metrics]
    if not panels or not panels[0][1]:
        return note(PAGE, study.title, "no scored answers")
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    width = PAGE if columns > 1 else COLUMN
    figure = new_figure(width, rows * height(panels[0][1]), study.title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for number, (axes, (name, bars)) in enumerate(zip(grid.flat, panels, strict=False)):
        source = name.removeprefix("asr[").removesuffix("]")
        line = base_estimate(study, name)
        draw_bars(axes, bars, asr_label(study), names=number % columns == 0, line=line)
        sizes = [bar.estimate.n for bar in bars if bar.estimate is not None]
        axes.set_title(f"{study.names.source(source)} ({max(sizes, default=0):,} prompts)", loc="left")
    limit = max(axes.get_xlim()[1] for axes in grid.flat[: len(panels)])
    for axes in grid.flat[: len(panels)]:
        set_limit(axes, limit)
    return figure
