"""The study's page: runs, configuration, data licences, versions and cost."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from formsafe.analysis.roster import Names
from formsafe.analysis.score_table import read_csv
from formsafe.core.files import read_json, write_text
from formsafe.core.records import NONE
from formsafe.report.pages.costs import COST_CAPTION, VERSIONS_CAPTION, cost_table, read_metrics, versions_table
from formsafe.report.pages.html import html_page, html_table
from formsafe.report.pages.sample import answers_page
from formsafe.report.pages.settings import settings_tables
from formsafe.report.pages.verdict import Evidence, verdict_rst
from formsafe.report.results import Results


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


def describe_study(results: Results, described: Description, outputs: Mapping[str, str]) -> None:
    """Write the pieces of the report.

    Args:
        results: with the files `corpus`, `certificate`, `paper` (the table), `metrics`, `answers` and `scores`.
        described: title, licences, configuration.
        outputs: paths under `verdict` (reStructuredText), `study` and `answers` (HTML).
    """
    files, names = results.files, results.names
    tables = {name: read_csv(files[name]) for name in ("comparisons", "curves", "audit", "paper")}
    evidence = Evidence(names=names, summary=results.summary, confidence=results.settings.confidence, **tables)
    write_text(outputs["verdict"], verdict_rst(evidence))
    write_text(outputs["answers"], answers_page(files.get("answers", []), files.get("scores", []), names))
    corpus, certificate = read_json(files["corpus"]), read_json(files["certificate"])
    records = read_metrics(files.get("metrics", []))
    configuration = [html_table(frame, name) for name, frame in settings_tables(described.settings).items()]
    title = html.escape(described.title)
    body = [
        f"<h1>{title}</h1>\n<p>Study <code>{html.escape(described.study)}</code></p>",
        *_section("Runs", html_table(runs_table(names), runs_caption(names))),
        *_section("Data", html_table(corpus_table(certificate), corpus_caption(corpus, certificate))),
        *_section("Licences", html_table(licence_table(described.licences), "Licences of the data.")),
        *_section("Cost", html_table(cost_table(records), COST_CAPTION)),
        *_section("Versions", html_table(versions_table(records), VERSIONS_CAPTION)),
        *_section("Configuration", "\n".join(configuration)),
    ]
    write_text(outputs["study"], html_page(title, "\n".join(body)))


def _section(title: str, content: str) -> list[str]:
    return [f"<h2>{html.escape(title)}</h2>", content]


def runs_table(names: Names) -> pd.DataFrame:
    """Every planned run and whether it is there."""
    rows = []
    for run in names.planned:
        parts = [None if text == NONE else text for text in (run.format, run.lr, run.seed)]
        state = "missing" if run in names.missing else "done"
        rows.append([names.model(run.model), names.method(run.method), *parts, state])
    return pd.DataFrame(rows, columns=["Model", "Method", "Format", "LR", "seed", "state"], dtype=object)


def runs_caption(names: Names) -> str:
    """How many runs there are."""
    return f"{len(names.planned) - len(names.missing)} of {len(names.planned)} runs are in this report."


def corpus_table(certificate: Mapping[str, Any]) -> pd.DataFrame:
    """The splits, from the certificate of all formats (`certify_formats`)."""
    rows = []
    for split, counts in certificate["splits"].items():
        numbers = [counts["examples"], counts["sentences"], counts["content_characters"]]
        rows.append([split, *numbers, counts["content_digest"][:12]])
    header = ["Split", "examples", "sentences", "characters of content", "SHA-256 of content"]
    return pd.DataFrame(rows, columns=header, dtype=object)


def corpus_caption(corpus: Mapping[str, Any], certificate: Mapping[str, Any]) -> str:
    """What was left out, and that all formats carry the same content."""
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in corpus["left_out"].items()) or "none"
    formats, mismatches = ", ".join(certificate["formats"]), certificate["mismatches"]
    return (
        f"{corpus['rows']:,} rows, left out: {left_out}. Certified: parsed back, {formats} give the same sentences, "
        f"character by character ({mismatches} mismatches)."
    )


def licence_table(licences: Mapping[str, str]) -> pd.DataFrame:
    """Data sets and their licences."""
    return pd.DataFrame(list(licences.items()), columns=["Data set", "licence"], dtype=object)
