"""Figures as they are put into the report: drawn by us, inlined, with ids of their own."""

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from formsafe.report.figures.style import NOTHING
from formsafe.report.registry import Entry, entries
from formsafe.report.results import Results

# Ids and what refers to them: figures in one page would otherwise use each other's letters and clip paths.
_IDS = re.compile(r'(\bid="|href="#|url\(#)')
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)  # names of vocabularies that look like addresses
# Sizes in points would fix the figure's width on the screen; the view box keeps its proportions.
_SIZE = re.compile(r'(<svg\b[^>]*?) width="([\d.]+)pt"([^>]*?)', re.DOTALL)
_HEIGHT = re.compile(r'(<svg\b[^>]*?) height="[\d.]+pt"', re.DOTALL)


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
                caption = entry.caption.format(threshold=results.threshold)
                svg, points = inlined(svg_file, f"{name}-{model}")
                # a figure of one column has 241 points, one of a page 510 (`style.COLUMN`, `style.PAGE`)
                found.append(Picture(entry, model, label, caption, svg, points > 300))
    return found


def inlined(svg: str, prefix: str) -> tuple[Markup, float]:
    """An SVG file as part of a page, with ids of its own, and its width in points."""
    body = _METADATA.sub("", svg[svg.index("<svg") :])
    width = _SIZE.search(body)
    body = _HEIGHT.sub(r"\1", _SIZE.sub(r"\1\3", body, count=1), count=1)
    # drawn by us, and matplotlib escapes the texts in it: safe as it is
    return Markup(_IDS.sub(rf"\g<1>{prefix}-", body)), float(width[2]) if width else 0.0
