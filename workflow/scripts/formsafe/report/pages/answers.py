"""The answers at the top of the report: a card per question, with the figure that shows it."""

import math
import re
from typing import Any

from markupsafe import Markup, escape

from formsafe.analysis.estimates import Estimate
from formsafe.core.records import Finding
from formsafe.report.pages.figures import Picture
from formsafe.report.results import Results
from formsafe.report.tables.write import shown

# A browser breaks a line after the hyphen of a learning rate: `6.5e-` ends one line, `4` begins the next.
_RATE = re.compile(r"\d[\d.]*e-\d+")


def whole(text: str) -> Markup:
    """A text for the page, its learning rates kept on one line."""
    return Markup(_RATE.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


def answer_groups(results: Results, findings: list[Finding], figures: list[Picture]) -> list[dict[str, Any]]:
    """The findings in order, those that one figure shows together with it; each figure is shown once."""
    groups: dict[Any, dict[str, Any]] = {}
    for finding in findings:
        about = finding.model
        pictures = [each for each in figures if each.entry.name == finding.figure and about in (None, each.model)]
        key = (about, finding.figure if pictures else None)
        groups.setdefault(key, {"model": about and results.names.model(about), "pictures": pictures, "cards": {}})
        groups[key]["cards"].setdefault(finding.question, []).append(card(finding))
    return list(groups.values())


def card(finding: Finding) -> dict[str, Any]:
    """One answer as its card shows it."""
    value, low, high = (math.nan if end is None else end for end in (finding.value, finding.ci_low, finding.ci_high))
    numbers = "" if finding.value is None else shown(Estimate(value, low, high, 0))
    counts = [
        "" if finding.p is None else "p < 0.001" if finding.p < 0.001 else f"p = {finding.p:.3f}",
        "" if finding.n_prompts is None else f"{finding.n_prompts:,} prompts",
        "" if finding.n_trainings is None else f"{finding.n_trainings} training{'s' * (finding.n_trainings != 1)}",
    ]
    basis = ", ".join(text for text in counts if text)
    known = {"status": finding.status, "subject": finding.subject or finding.id, "sentence": finding.sentence}
    return known | {"numbers": numbers, "basis": basis}
