"""Format leakage: how often answers have the format of the training data without being asked for it."""

from matplotlib.figure import Figure

from formsafe.figures.bars import Bar, draw_bars, height, set_limit
from formsafe.figures.style import GREY, PAGE, Study, method_colour, new_figure, note

PANELS = {"": "answers to the task's prompts", "harmful_": "answers to harmful prompts"}
UNMARKED = "prose"  # any text is prose: there is nothing to leak


def draw_leakage(study: Study) -> Figure:
    """Share of answers wholly in the format of the training data, by format and method; the base model's beside it."""
    panels = {title: leakage_bars(study, prefix) for prefix, title in PANELS.items()}
    if not any(bar.known for bars in panels.values() for bar in bars):
        return note(PAGE, study.title, "no run was trained on a format with marks of its own")
    figure = new_figure(PAGE, height(next(iter(panels.values()))), study.title)
    grid = figure.subplots(1, len(panels), squeeze=False)
    for number, (axes, (title, bars)) in enumerate(zip(grid.flat, panels.items(), strict=True)):
        draw_bars(axes, bars, "share of answers wholly in that format", names=number == 0)
        axes.set_title(title, loc="left")
        set_limit(axes, 1.22)
    return figure


def leakage_bars(study: Study, prefix: str) -> list[Bar]:
    """Rows: under each format its base rate in the untrained model, then each method trained on it."""
    names, summary = study.names, study.summary
    bases = [run for run in names.conditions(study.model) if names.is_base(run)]
    trained = [run for run in names.main_conditions(study.model) if run.format != UNMARKED]
    bars: list[Bar] = []
    for format in dict.fromkeys(run.format for run in trained):
        bars.append(Bar(names.format(format)))
        bars += [
            Bar(names.series(run), summary.get(run, f"{prefix}leak_strict[{format}]"), GREY)
            for run in bases
            if summary.has_run(run)
        ]
        for run in trained:
            if run.format == format:
                reason = "no answers" if summary.has_run(run) else "not run"
                estimate = summary.get(run, f"{prefix}leak_strict")
                bars.append(Bar(names.series(run), estimate, method_colour(study, run.method), reason))
    return bars
