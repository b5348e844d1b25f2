"""What the page says of runs, corpus, licences and assumptions."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from formsafe.analysis.roster import Names
from formsafe.core.files import read_jsonl
from formsafe.core.layout import partitions
from formsafe.core.records import NONE
from formsafe.core.texts import sha256


def runs_table(names: Names) -> pd.DataFrame:
    """Every planned run and whether it is there."""
    rows = []
    for run in names.planned:
        format = names.format(run.format) if run.format != NONE else NONE
        axes = [None if text == NONE else text for text in (format, run.lr, run.seed, run.data_seed, run.examples)]
        state = "missing" if run in names.missing else "done"
        rows.append([names.model(run.model), names.method(run.method), *axes, state])
    header = ["Model", "Method", "Format", "LR", "seed", "data seed", "examples", "state"]
    return pd.DataFrame(rows, columns=header, dtype=object).dropna(axis="columns", how="all")


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


def example(paths: Sequence[str], names: Names) -> dict[str, Any]:
    """One example of the data in every format.

    Args:
        paths: the same split in each format (`data/format=.../test.jsonl`).
        names: labels.

    Returns:
        `instruction`, and `responses`: label of the format to the response; empty without examples.
    """
    by_format: dict[str, dict[str, Any]] = {}
    for path in paths:
        by_format[partitions(path)["format"]] = {row["id"]: row["messages"] for row in read_jsonl(path)}
    shared = set.intersection(*map(set, by_format.values())) if by_format else set()
    if not shared:
        return {}
    chosen = min(shared, key=sha256)
    messages = {name: by_format[name][chosen] for name in names.formats(by_format)}
    responses = {names.format(name): turns[-1]["content"] for name, turns in messages.items()}
    instruction = next(turn["content"] for turn in messages[next(iter(by_format))] if turn["role"] == "user")
    return {"instruction": instruction, "responses": responses}
