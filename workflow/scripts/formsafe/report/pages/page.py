"""The report of a study: one page that needs no network, from the template `workflow/report/report.html`."""

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from formsafe.analysis.estimates import Estimate
from formsafe.config.assumptions import assumption_rows, read_assumptions
from formsafe.core.files import read_json, write_text
from formsafe.core.records import NONE, Finding
from formsafe.report.pages.answers import answer_groups, whole
from formsafe.report.pages.costs import COST_CAPTION, VERSIONS_CAPTION, cost_table, read_metrics, versions_table
from formsafe.report.pages.data import corpus_caption, corpus_table, example, runs_table
from formsafe.report.pages.figures import read_figures
from formsafe.report.pages.settings import settings_tables
from formsafe.report.registry import SECTIONS, entries
from formsafe.report.results import Results
from formsafe.report.tables.write import texts

# What computed the numbers of this page; the jobs' own records have the rest.
ANALYSIS_PACKAGES = ("numpy", "pandas", "scipy", "statsmodels", "matplotlib")


@dataclass(frozen=True)
class Description:
    """What the page says beside the results.

    Args:
        title: the study's title.
        study: its name.
        licences: data set to its licence.
        settings: sections of the configuration to show, as builtins.
    """

    title: str
    study: str
    licences: Mapping[str, str]
    settings: Mapping[str, Any]


def write_page(results: Results, described: Description, template: str, output: str) -> None:
    """Write the report.

    Args:
        results: with the files `figures` (SVG), `verdict`, `corpus`, `certificate`, `examples`, `assumptions` and
            `metrics`, each of them a list.
        described: title, licences, configuration.
        template: the page's template, with its style and script beside it.
        output: where to write.
    """
    folder = Path(template).parent
    environment = environment_of(folder)
    figures = read_figures(results)
    findings = [Finding(**row) for path in results.files.get("verdict", []) for row in read_json(path)]
    style, script = (Markup((folder / name).read_text(encoding="utf-8")) for name in ("report.css", "report.js"))
    page = environment.get_template(Path(template).name).render(
        style=style,
        script=script,
        script_hash=script_hash(script),
        title=described.title,
        study=described.study,
        threshold=results.threshold,
        facts=facts(results, described),
        missing=[f"{results.names.model(run.model)}: {results.names.run(run)}" for run in results.names.missing],
        planned=len(results.names.planned),
        answers=answer_groups(results, findings, figures),
        figures=figures,
        sections=SECTIONS,
        tables=result_tables(results),
        appendix=list(appendix(results, described)),
        example=example(results.files.get("examples", []), results.names),
    )
    write_text(output, page)


def environment_of(folder: Path) -> Environment:
    """Templates of a folder; every text is escaped, and an unknown name is an error."""
    loader = FileSystemLoader(folder)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["whole"] = whole
    return made


def script_hash(script: str) -> str:
    """The name by which a content security policy allows this script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def facts(results: Results, described: Description) -> dict[str, str]:
    """What was run, in one line each."""
    names, planned = results.names, results.names.planned
    trained = Counter(names.model(run.model) for run in planned if not names.is_base(run))
    prompts = {name: source["count"] for name, source in described.settings.get("harmful", {}).items()}
    sources = ", ".join(f"{names.source(name)} {count:,}" for name, count in prompts.items())
    formats = names.formats(run.format for run in planned if run.format != NONE)
    judges = [f"{name} ({names.model(judge['model'])})" for name, judge in described.settings.get("judges", {}).items()]
    encoder = described.settings.get("tasks", {}).get("encoder", {})
    return {
        "Models": ", ".join(dict.fromkeys(names.model(run.model) for run in planned)),
        "Methods": ", ".join(dict.fromkeys(names.method(run.method) for run in planned)),
        "Formats": ", ".join(map(names.format, formats)) or "none",
        "Trainings": "; ".join(f"{model}: {count}" for model, count in trained.items()) or "none",
        "Harmful prompts": f"{sum(prompts.values()):,} ({sources})",
        "Judges": ", ".join(judges) or "none",
        "Sentence encoder": (encoder.get("hub") or {}).get("repo") or encoder.get("folder") or "none",
    }


def result_tables(results: Results) -> list[dict[str, Any]]:
    """All registered tables that have rows, with their section."""
    found = []
    for entry in entries("tables").values():
        caption = entry.caption.format(threshold=results.threshold)
        frame = entry.make(results)
        if not frame.empty:
            found.append(table(entry.title, caption, frame) | {"section": entry.section})
    return found


def table(title: str, caption: str, frame: pd.DataFrame) -> dict[str, Any]:
    """A table as the template shows it: each cell its text and, for numbers, the value to sort by."""
    rows = []
    for labels, cells in zip(texts(frame).values.tolist(), frame.values.tolist() or [[]], strict=False):
        numbers = [_number(cell) for cell in cells] or [None] * len(labels)
        rows.append(list(zip(labels, numbers, strict=True)))
    return {"title": title, "caption": caption, "columns": list(frame.columns), "rows": rows}


def _number(cell: Any) -> float | None:
    value = cell.value if isinstance(cell, Estimate) else cell
    return float(value) if isinstance(value, Real) and not math.isnan(value) else None


def appendix(results: Results, described: Description) -> Iterator[dict[str, Any]]:
    """Sections behind the results: their title, an anchor, tables, and whether they are long."""
    files, names = results.files, results.names
    records = read_metrics(files.get("metrics", []))
    done = len(names.planned) - len(names.missing)
    runs = table("Runs", f"{done} of {len(names.planned)} runs are in this report.", runs_table(names))
    data = [runs]
    for counts, certificate in zip(files.get("corpus", []), files.get("certificate", []), strict=True):
        proof = read_json(certificate)
        data.append(table("Corpus", corpus_caption(read_json(counts), proof), corpus_table(proof)))
    yield {"id": "runs", "title": "Runs and corpus", "tables": data}
    yield {"id": "cost", "title": "Cost", "tables": [table("Cost by stage", COST_CAPTION, cost_table(records))]}
    entries = [entry for path in files.get("assumptions", []) for entry in read_assumptions(path)]
    if assumed := assumption_rows(entries, described.settings):
        caption = "Where the paper is silent, the choice is ours; the last column marks what this study changes."
        yield {
            "id": "assumptions",
            "title": "Assumptions",
            "tables": [table("Assumptions", caption, pd.DataFrame(assumed, dtype=object))],
        }
    settings = [table(name, "", frame) for name, frame in settings_tables(described.settings).items()]
    yield {"id": "configuration", "title": "Configuration", "tables": settings}
    versions = [table("Jobs", VERSIONS_CAPTION, versions_table(records)), table("This page", "", _own_versions())]
    yield {"id": "versions", "title": "Versions", "tables": versions}
    licences = pd.DataFrame(list(described.licences.items()), columns=["Data set", "licence"], dtype=object)
    caption = "Data that the study used, under their own licences."
    yield {"id": "licences", "title": "Licences", "tables": [table("Licences of the data", caption, licences)]}


def _own_versions() -> pd.DataFrame:
    rows = [[name, version(name)] for name in ANALYSIS_PACKAGES]
    return pd.DataFrame(rows, columns=["Package", "version"], dtype=object)
