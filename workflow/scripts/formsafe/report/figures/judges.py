"""Judges side by side: the ASR of each condition by every judge, and corrected by people's labels."""

import math
from typing import Any

from matplotlib.figure import Figure

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.judges import condition_name
from formsafe.report.figures import style
from formsafe.report.registry import figure
from formsafe.report.results import Results

MARKS = {"asr_judged": "o", "asr_corrected": "D"}


@figure("judges", "ASR by judge")
def judges(results: Results, model: str) -> Figure:
    """A dot per judge and condition with its interval; a diamond is the judge's ASR corrected by people's labels. A
    claim that holds with one judge only is a claim about that judge."""
    title = results.names.model(model)
    names = {condition_name(run): results.names.run(run) for run in results.conditions(model)}
    rows = [row for row in results.judges if row.figure in MARKS and row.group in names]
    rows = [row for row in rows if not math.isnan(row.value)]  # too few labels for a correction
    if not rows:
        return style.note(style.COLUMN, title, "no judge has scored an answer")
    shown = {row.group for row in rows}
    order = [name for name in names if name in shown]
    known = list(dict.fromkeys(row.judge for row in rows))
    drawn = style.new_figure(style.COLUMN, 1.0 + 0.16 * len(order) * (len(known) + 1), title)
    axes = drawn.subplots()
    handles = {}
    for row in rows:
        number, corrected = known.index(row.judge), row.figure == "asr_corrected"
        place = order.index(row.group) + 0.7 * (number + 0.5 * corrected - (len(known) - 0.5) / 2) / len(known)
        reach = style.spread([Estimate(row.value, row.ci_low, row.ci_high, row.n)])
        look: dict[str, Any] = {"fmt": MARKS[row.figure], "color": f"C{number}", "markersize": 3.5, "capsize": 2}
        mark = axes.errorbar(row.value, place, xerr=reach, **look)
        handles[f"{row.judge}, corrected" if corrected else row.judge] = mark
    axes.set_yticks(range(len(order)), [names[name] for name in order])
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("ASR")
    style.light_grid(axes, "x")
    style.legend(drawn, handles, columns=2)
    return drawn
