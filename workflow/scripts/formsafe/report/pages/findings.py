"""The findings at the top of the report: a card per question, with the figure that shows it; and all figures.

Figures are drawn by us, inlined, with ids of their own.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.wording import p_text
from formsafe.core.records import Finding
from formsafe.report.figures.style import NOTHING
from formsafe.report.registry import Entry, entries
from formsafe.report.results import Results
from formsafe.report.tables.write import shown

# A browser breaks a line after the hyphen of a learning rate: `6.5e-` ends one line, `4` begins the next.
_RATE = re.compile(r"\d[\d.]*e-\d+")
# Ids and what refers to them: figures in one page would otherwise use each other's letters and clip paths.
_IDS = re.compile(r'(\bid="|href="#|url\(#)')
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)  # names of vocabularies that look like addresses
# Sizes in points would fix the figure's width on the screen; the view box keeps its proportions.
_SIZE = re.compile(r' (width|height)="([\d.]+)pt"')


@dataclass(frozen=True)
class Picture:
    """A figure of one model, as it is put into the page."""

    entry: Entry
    model: str
    label: str
    caption: str
    svg: Markup
    wide: bool

    @property
    def id(self) -> str:
        """Its anchor."""
        return f"figure-{self.entry.name}-{self.model}"


def read_figures(results: Results) -> list[Picture]:
    """All figures in which something is drawn, section after section, a model after the other."""
    paths = {Path(path).stem: path for path in results.files.get("figures", [])}
    found = []
    for name, entry in entries("figures").items():
        for model in dict.fromkeys(run.model for run in results.names.planned):
            path = paths.get(f"{name}_{model}")
            svg_file = Path(path).read_text(encoding="utf-8") if path else ""
            if svg_file and f'id="{NOTHING}"' not in svg_file:
                label = f"{entry.title}, {results.names.model(model)}"
                caption = entry.caption.format(**results.words)
                svg, points = inlined(svg_file, f"{name}-{model}")
                # a figure of one column has 241 points, one of a page 510 (`style.COLUMN`, `style.PAGE`)
                found.append(Picture(entry, model, label, caption, svg, points > 300))
    return found


def inlined(svg: str, prefix: str) -> tuple[Markup, float]:
    """An SVG file as part of a page, with ids of its own, and its width in points."""
    body = _METADATA.sub("", svg[svg.index("<svg") :])
    sizes = dict(_SIZE.findall(body)[:2])  # of the outermost element, the only one with sizes in points
    # drawn by us, and matplotlib escapes the texts in it: safe as it is
    return Markup(_IDS.sub(rf"\g<1>{prefix}-", _SIZE.sub("", body, count=2))), float(sizes.get("width", 0))


def whole(text: str) -> Markup:
    """A text for the page, its learning rates kept on one line."""
    return Markup(_RATE.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


def finding_groups(results: Results, findings: list[Finding], figures: list[Picture]) -> list[dict[str, Any]]:
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
    """One finding as its card shows it."""
    value, low, high = (math.nan if end is None else end for end in (finding.value, finding.ci_low, finding.ci_high))
    numbers = "" if finding.value is None else shown(Estimate(value, low, high, 0))
    counts = [
        "" if finding.p is None else p_text(finding.p),
        "" if finding.n_prompts is None else f"{finding.n_prompts:,} prompts",
        "" if finding.n_trainings is None else f"{finding.n_trainings} training{'s' * (finding.n_trainings != 1)}",
    ]
    known = {"basis": ", ".join(filter(None, counts)), "numbers": numbers}
    known |= {"status": finding.status, "subject": finding.subject or finding.id, "sentence": finding.sentence}
    return known
