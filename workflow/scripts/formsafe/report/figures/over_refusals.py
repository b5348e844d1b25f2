"""Both sides of safety: harmful prompts answered, and benign prompts refused."""

import math

from matplotlib.figure import Figure

from formsafe.report.figures import style
from formsafe.report.registry import figure
from formsafe.report.results import Results


@figure(
    "safety",
    "Over-refusal against ASR",
    "A point per condition, crosses are intervals. A safe and useful model is at the lower left; one that is safe "
    "because it refuses everything is at the upper left.",
)
def over_refusals(results: Results, model: str) -> Figure:
    """The share of benign prompts refused against the ASR."""
    title = results.names.model(model)
    points = []
    for run in results.conditions(model):
        judged, words = (results.summary.get(run, name) for name in ("over_refusal", "over_refusal_keywords"))
        refused, asr = judged or words, results.summary.get(run, "asr")
        if refused is not None and asr is not None and not math.isnan(refused.value + asr.value):
            points.append((run, asr, refused))
    if not points:
        return style.note(style.COLUMN, title, "no benign prompts in this study")
    drawn = style.new_figure(style.COLUMN, 3.2, title)
    axes = drawn.subplots()
    for number, (run, asr, refused) in enumerate(points):
        axes.errorbar(
            *(asr.value, refused.value),
            xerr=[[asr.value - asr.low], [asr.high - asr.value]],
            yerr=[[refused.value - refused.low], [refused.high - refused.value]],
            fmt="o",
            color=f"C{number}",
            markersize=3.5,
            label=results.names.run(run),
        )
    axes.set_xlabel(style.asr_label(results))
    axes.set_ylabel("Benign prompts refused")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    style.light_grid(axes, "both")
    axes.legend(fontsize="x-small", loc="upper right")
    return drawn
