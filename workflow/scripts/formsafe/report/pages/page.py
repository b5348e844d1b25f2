"""The report of a study: one page that needs no network, from the template `workflow/report/report.html`."""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from formsafe.core.files import read_json, write_text
from formsafe.core.records import NONE, Finding
from formsafe.report.pages.appendix import appendix, example, table
from formsafe.report.pages.findings import finding_groups, read_figures, whole
from formsafe.report.registry import SECTIONS, entries
from formsafe.report.results import Results


def write_page(results: Results, described: Mapping[str, Any], template: str, output: str) -> None:
    """Write the report.

    Args:
        results: with the files `figures` (SVG), `verdict`, `corpus`, `certificate`, `examples`, `assumptions` and
            `metrics`, each of them a list.
        described: `title` and name (`study`) of the study, `licences` (data set to its licence), and `settings`:
            sections of the configuration to show, as builtins.
        template: the page's template, with its style and script beside it.
        output: where to write.
    """
    folder = Path(template).parent
    environment = environment_of(folder)
    figures = read_figures(results)
    findings = [Finding(**row) for path in results.files.get("verdict", []) for row in read_json(path)]
    page = environment.get_template(Path(template).name).render(
        **style_and_script(folder, "report"),
        **described,
        scores=results.words["scores"],
        facts=facts(results, described["settings"]),
        missing=[f"{results.names.model(run.model)}: {results.names.run(run)}" for run in results.names.missing],
        planned=len(results.names.planned),
        findings=finding_groups(results, findings, figures),
        figures=figures,
        sections=SECTIONS,
        tables=result_tables(results),
        appendix=list(appendix(results, described["settings"], described["licences"])),
        example=example(results.files.get("examples", []), results.names),
    )
    write_text(output, page)


def environment_of(folder: Path) -> Environment:
    """Templates of a folder; every text is escaped, and an unknown name is an error."""
    loader = FileSystemLoader(folder)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["whole"] = whole
    return made


def style_and_script(folder: Path, name: str) -> dict[str, str]:
    """A page's style and script as its template takes them, and `script_hash`.

    The hash is the name by which the page's content security policy allows this script and no other.
    """
    style, script = (Markup((folder / f"{name}.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"style": style, "script": script, "script_hash": f"sha256-{digest}"}


def facts(results: Results, settings: Mapping[str, Any]) -> dict[str, str]:
    """What was run, in one line each."""
    names, planned = results.names, results.names.planned
    trained = Counter(names.model(run.model) for run in planned if names.trains_adapter(run))
    prompts = {}
    for kind in ("harmful", "benign"):
        counts = {name: source["count"] for name, source in settings.get(kind, {}).items()}
        sources = ", ".join(f"{names.source(name)} {count:,}" for name, count in counts.items())
        prompts[f"{kind.capitalize()} prompts"] = f"{sum(counts.values()):,} ({sources})" if counts else "none"
    formats = names.formats(run.format for run in planned if run.format != NONE)
    judges = [f"{name} ({names.model(judge['model'])})" for name, judge in settings.get("judges", {}).items()]
    encoder = settings.get("tasks", {}).get("encoder", {})
    return {
        "Models": ", ".join(dict.fromkeys(names.model(run.model) for run in planned)),
        "Methods": ", ".join(dict.fromkeys(names.method(run.method) for run in planned)),
        "Formats": ", ".join(map(names.format, formats)) or "none",
        "Trainings": "; ".join(f"{model}: {count}" for model, count in trained.items()) or "none",
        **prompts,
        "Judges": ", ".join(judges) or "none",
        "Sentence encoder": (encoder.get("hub") or {}).get("repo") or encoder.get("folder") or "none",
    }


def result_tables(results: Results) -> list[dict[str, Any]]:
    """All registered tables that have rows, with their section."""
    found = []
    for entry in entries("tables").values():
        frame = entry.make(results)
        if not frame.empty:
            caption = entry.caption.format(**results.words)
            found.append(table(entry.title, caption, frame) | {"section": entry.section})
    return found
