"""First tokens: what competes with the refusal, and how deep the change goes."""

import math

from matplotlib.figure import Figure

from formsafe.analysis.first_tokens import by_depth, masses
from formsafe.core.records import NONE, Run
from formsafe.report.figures import style
from formsafe.report.figures.bars import HEADING
from formsafe.report.figures.rows import Bar, draw_bars, height
from formsafe.report.registry import figure
from formsafe.report.results import Results

PANELS = {"refusal": "on openings of refusals", "format": "on openings of the format"}
FIELDS = {"kl": "KL(base || run), nats", "logprob": "log-probability of the refusal, nats"}
NOTHING = "no run was followed along the base model's refusals"


@figure("safety", "What competes with the refusal")
def first_token(results: Results, model: str) -> Figure:
    """Mean probability, at the first token of an answer to a prompt that the base model refuses, of the tokens that
    open its refusals (left) and of those that open the training responses of the format (right; no token counts as
    both). Intervals over prompts, a dot per training. If the bias to write the format won over the refusal, the left
    bars would shrink as the right ones grow, most under SFT and with the more formal formats; left bars that shrink
    while the right ones stay at the base model's would speak against it."""
    title, rows = results.names.model(model), _rows(results, model)
    if not rows:
        return style.note(style.PAGE, title, NOTHING)
    tall = height([_bar(results, run, format, "refusal") for run, format in rows])
    drawn, grid = style.panels(title, len(PANELS), len(PANELS), tall + HEADING)
    for axes, (kind, label) in zip(grid, PANELS.items(), strict=True):
        bars = [_bar(results, run, format, kind) for run, format in rows]
        draw_bars(axes, results, bars, "probability at the first token", names=kind == "refusal")
        axes.set_title(label, loc="left")
    return drawn


@figure("safety", "How deep the change goes")
def refusal_depth(results: Results, model: str) -> Figure:
    """Along the base model's own refusals, token by token: how far a run's next-token distribution is from the base
    model's (above), and how probable it still finds the refusal (below). A change of the first tokens only is shallow:
    refusing once started, the run refuses on. Curves of equal height at all depths would speak against a loss of safety
    through the first tokens."""
    title = results.names.model(model)
    trained = [run for run, _ in _rows(results, model) if run.format != NONE]
    if not trained:
        return style.note(style.COLUMN, title, NOTHING)
    drawn, grid = style.panels(title, len(FIELDS), 1, 2.1, 0.14 * len(trained), sharex=True)
    handles = {}
    for axes, (field, label) in zip(grid, FIELDS.items(), strict=True):
        for run in trained:
            values = by_depth(results.first_tokens, run, field)
            colour, line = style.method_colour(results, run.method), style.format_style(results, run.format)[1]
            (drawn_line,) = axes.plot(range(len(values)), values, color=colour, linestyle=line)
            handles[results.names.run(run)] = drawn_line
        axes.set_ylabel(label)
        style.light_grid(axes, "y")
    axes.set_xlabel("token of the refusal (0: the first)")
    style.legend(drawn, handles, columns=2)
    return drawn


def _rows(results: Results, model: str) -> list[tuple[Run, str]]:
    """Conditions with the format whose openings are meant: an untrained one once for each format of the study."""
    trained = results.main_conditions(model)
    formats = list(dict.fromkeys(run.format for run in trained))
    rows = [(run, format) for run in results.untrained(model) for format in formats]
    rows += [(run, run.format) for run in trained]
    return [(run, format) for run, format in rows if masses(results.first_tokens, run, "refusal", 0.95)[1]]


def _bar(results: Results, run: Run, format: str, kind: str) -> Bar:
    opening = "refusal" if kind == "refusal" else format
    estimate, trainings = masses(results.first_tokens, run, opening, results.settings.confidence)
    known, label = None if math.isnan(estimate.value) else estimate, results.names.run(run)
    if run.format == NONE:
        return Bar(f"{label} ({results.names.format(format)})", run, known, "no scores")
    return Bar(label, run, known, "no scores", tuple(trainings))
