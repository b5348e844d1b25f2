"""The study's page: runs, configuration, data licences, versions and cost."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from formsafe.analysis.estimates import Summary
from formsafe.analysis.roster import Names
from formsafe.analysis.score_table import read_csv
from formsafe.config.grid import NONE
from formsafe.core.files import read_json, write_text
from formsafe.report.pages.costs import cost_table, read_metrics, versions_table
from formsafe.report.pages.sample import answers_page
from formsafe.report.pages.settings import settings_tables
from formsafe.report.pages.verdict import Evidence, verdict_rst
from formsafe.report.tables.base import Table
from formsafe.report.tables.write import html_page, html_table


def describe_study(
    inputs: Mapping[str, str],
    metrics: Sequence[str],
    answers: Sequence[str],
    scores: Sequence[str],
    outputs: Mapping[str, str],
    *,
    title: str,
    study: str,
    names: Names,
    confidence: float,
    licences: Mapping[str, str],
    settings: Mapping[str, Any],
) -> None:
    """Write the pieces of the report.

    Args:
        inputs: paths under `summary`, `comparisons`, `curves`, `audit`, `paper` (table `paper_comparison.csv`),
            `corpus` (its counts) and `certificate` (of the formats).
        metrics: metrics.json of every stage.
        answers: answers to the harmful prompts, one file a run.
        scores: the judge's scores, one file a run.
        outputs: paths under `verdict` (reStructuredText), `study` and `answers` (HTML).
        title: the study's title.
        study: its name.
        names: labels and roles of the planned runs.
        confidence: level of the intervals and tests.
        licences: data set to its licence.
        settings: sections of the configuration to show, as builtins.
    """
    evidence = Evidence(
        names=names,
        summary=Summary.read(inputs["summary"]),
        comparisons=read_csv(inputs["comparisons"]),
        curves=read_csv(inputs["curves"]),
        audit=read_csv(inputs["audit"]),
        paper=read_csv(inputs["paper"]),
        confidence=confidence,
    )
    records = read_metrics(metrics)
    write_text(outputs["verdict"], verdict_rst(evidence))
    write_text(outputs["answers"], answers_page(answers, scores, names))
    body = [
        f"<h1>{html.escape(title)}</h1>\n<p>Study <code>{html.escape(study)}</code></p>",
        *_section("Runs", html_table(runs_table(names))),
        *_section("Data", html_table(corpus_table(read_json(inputs["corpus"]), read_json(inputs["certificate"])))),
        *_section("Licences", html_table(licence_table(licences))),
        *_section("Cost", html_table(cost_table(records))),
        *_section("Versions", html_table(versions_table(records))),
        *_section("Configuration", "\n".join(map(html_table, settings_tables(settings)))),
    ]
    write_text(outputs["study"], html_page(html.escape(title), "\n".join(body)))


def _section(title: str, content: str) -> list[str]:
    return [f"<h2>{html.escape(title)}</h2>", content]


def runs_table(names: Names) -> Table:
    """Every planned run and whether it is there."""
    rows = [
        [
            *(names.model(run.model), names.method(run.method)),
            *(None if text == NONE else text for text in (run.format, run.lr, run.seed)),
            "missing" if run in names.missing else "done",
        ]
        for run in names.planned
    ]
    caption = f"{len(names.planned) - len(names.missing)} of {len(names.planned)} runs are in this report."
    header = ["Model", "Method", "Format", "LR", "seed", "state"]
    return Table("runs", "Runs", caption, header, [list(row) for row in rows])


def corpus_table(corpus: Mapping[str, Any], certificate: Mapping[str, Any]) -> Table:
    """The splits, what was left out, and that all formats carry the same content.

    Args:
        corpus: counts of the corpus (`split_corpus`).
        certificate: of all formats (`certify_formats`).
    """
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in corpus["left_out"].items()) or "none"
    formats, mismatches = ", ".join(certificate["formats"]), certificate["mismatches"]
    caption = (
        f"{corpus['rows']:,} rows, left out: {left_out}. Certified: parsed back, {formats} give the same sentences, "
        f"character by character ({mismatches} mismatches). Tokens by model: the table of tokens, from "
        "data/tokens/model=*.json."
    )
    rows = [
        [split, counts["examples"], counts["sentences"], counts["content_characters"], counts["content_digest"][:12]]
        for split, counts in certificate["splits"].items()
    ]
    header = ["Split", "examples", "sentences", "characters of content", "SHA-256 of content"]
    return Table("corpus", "Corpus", caption, header, rows)


def licence_table(licences: Mapping[str, str]) -> Table:
    """Data sets and their licences."""
    rows = [[name, licence] for name, licence in licences.items()]
    caption = "Data that the study used, under their own licences."
    return Table("licences", "Licences", caption, ["Data set", "licence"], [list(row) for row in rows])
