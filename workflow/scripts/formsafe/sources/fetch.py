"""Fetching the corpus and the harmful prompts: the right columns, the right rows, and a manifest of what was found."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formsafe.config.settings.data import DataSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import write_json, write_jsonl
from formsafe.core.texts import content_digest, is_text, normalise, sameness, sha256
from formsafe.sources.readers import Row
from formsafe.sources.rows import SourceRows, read_source

# How answers begin that were written to go along with a harmful request: AdvBench's second column. In copies of it the
# two column names are often in the wrong order.
_AFFIRMATIVE = re.compile(r"(sure|certainly|of course|absolutely|yes)\b[,!.]?\s|here(\s(is|are)|'s)\b", re.IGNORECASE)
# A column's name that is safe to show: anything longer or with other characters may be a prompt.
_SHORT_NAME = re.compile(r"[\w.-]{0,30}")


@dataclass(frozen=True)
class Wanted:
    """A source of the configuration and what it must look like.

    Attributes:
        key: its place in the configuration, e.g. `corpus` or `harmful.advbench`.
        columns: for each column wanted, its key below `key` and its name.
        rows: how many rows there must be, if known.
        digest: SHA-256 over the normalised prompts, if known.
    """

    key: str
    source: DataSource
    licence: str
    columns: dict[str, str]
    rows: int | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Fetched:
    """Where a source's rows (`raw`) and the record of what was found (`manifest`) go, and the lock of sources."""

    raw: Path | str
    manifest: Path | str
    lock: Path | str


def fetch_corpus(wanted: Wanted, outputs: Fetched) -> None:
    """Fetch the articles as `{row, title, response}`; values that are not text become null, which the split counts.

    Args:
        wanted: its columns are `title_field` and `response_field`.
        outputs: where everything goes.

    Raises:
        FormsafeError: it cannot be had, lacks a column, has another number of rows, or has changed.
    """
    found, columns, _ = _read(wanted, outputs)
    _check_rows(wanted, found)
    names = {"title": columns["title_field"], "response": columns["response_field"]}
    records = []
    for number, row in enumerate(found.rows):
        texts = {name: row.get(column) for name, column in names.items()}
        records.append({"row": number} | {name: text if is_text(text) else None for name, text in texts.items()})
    _write(wanted, outputs, found, records, response_field=wanted.columns["response_field"])


def fetch_harmful(wanted: Wanted, outputs: Fetched) -> None:
    """Fetch one source of harmful prompts as `{row, prompt, category}`, without white space at the edges.

    Args:
        wanted: its columns are `prompt_column` and, if it has one, `category_column`.
        outputs: where everything goes.

    Raises:
        FormsafeError: it cannot be had or is not the source meant: a column is missing, twice there or holds answers,
            rows are missing, or the content differs. Messages hold counts and digests, never prompts.
    """
    found, columns, notes = _read(wanted, outputs)
    records = [_harmful_record(wanted.key, number, row, columns) for number, row in enumerate(found.rows)]
    prompts = [record["prompt"] for record in records]
    _check_not_answers(wanted.key, columns["prompt_column"], prompts)
    _check_rows(wanted, found)
    digest = content_digest(prompts)
    _check_digest(wanted, columns["prompt_column"], len(prompts), digest)
    pairs = zip(found.rows, prompts, strict=True)
    if edges := sum(row[columns["prompt_column"]] != prompt for row, prompt in pairs):
        notes.append(f"{wanted.key}: removed white space at the edges of {edges:,} prompts")
    print("\n".join([f"{wanted.key}: {len(prompts)} prompts, digest {digest}", *notes]))
    name = wanted.key.removeprefix("harmful.")
    checked = wanted.digest is not None
    _write(wanted, outputs, found, records, name=name, prompts_digest=digest, digest_checked=checked, notes=notes)


def _read(wanted: Wanted, outputs: Fetched) -> tuple[SourceRows, dict[str, str], list[str]]:
    """Rows, the name of each wanted column by its key, and notes on those with a slightly different name."""
    found = read_source(wanted.source, outputs.lock, wanted.rows)
    if not found.rows:
        here = Path.cwd()
        raise FormsafeError(f"{wanted.key}: the source {found.place} has no rows, or no file (looked from {here}).")
    columns, notes = {}, []
    for key, name in wanted.columns.items():
        columns[key] = find_column(wanted.key, key, name, list(found.rows[0]))
        if columns[key] != name:
            notes.append(f"{wanted.key}: took the column {columns[key]!r} for {name!r}")
    return found, columns, notes


def _write(wanted: Wanted, outputs: Fetched, found: SourceRows, records: list[Row], **more: Any) -> None:
    found.settle(outputs.lock)
    write_jsonl(outputs.raw, records)
    write_json(outputs.manifest, {**found.describe(), "licence": wanted.licence, **more})


def find_column(where: str, key: str, wanted: str, columns: list[str]) -> str:
    """Find a column by name; letter case and white space at the edges do not count.

    Args:
        where: the source's key, for messages.
        key: the setting that names the column.
        wanted: its name.
        columns: those that the source has.

    Raises:
        FormsafeError: there are several; or none: names what was found, unless it may be a prompt (a file without a
            header).
    """
    alike = [column for column in columns if sameness(column) == sameness(wanted)]
    if len(alike) == 1:
        return alike[0]
    shown = ", ".join(
        repr(column) if _SHORT_NAME.fullmatch(column.strip()) else f"<{len(column)} characters, {sha256(column)[:8]}>"
        for column in alike or columns
    )
    if alike:
        problem = f"the columns {shown} may all be meant by `{wanted}`. Rename or remove all but one."
    elif any(len(column.split()) > 3 for column in columns):
        problem = (
            f"its first line holds data, not column names: expected a column `{wanted}`, found {shown}. The file "
            "has no header: take the original, or add a first line with the column names."
        )
    else:
        problem = (
            f"expected a column `{wanted}`, found {shown or 'none'}. Take the original, or name the right column in "
            f"`{where}.{key}` of the configuration."
        )
    raise FormsafeError(f"{where}: {problem}")


def _harmful_record(where: str, number: int, row: Row, columns: dict[str, str]) -> Row:
    for column in columns.values():
        if not is_text(row.get(column)) or not normalise(row[column]):
            raise FormsafeError(f"{where}: row {number} has no text in the column `{column}`.")
    category = columns.get("category_column")
    prompt = row[columns["prompt_column"]].strip()
    return {"row": number, "prompt": prompt, "category": row[category] if category is not None else None}


def _check_not_answers(where: str, column: str, prompts: list[str]) -> None:
    answers = sum(_AFFIRMATIVE.match(prompt) is not None for prompt in prompts)
    if answers > len(prompts) / 2:
        raise FormsafeError(
            f"{where}: the column `{column}` holds answers, not requests: {answers} of {len(prompts)} rows begin like "
            '"Sure, here is". In copies of this data the column names are in the wrong order; take the original or '
            "swap the names in the first line."
        )


def _check_rows(wanted: Wanted, found: SourceRows) -> None:
    count = len(found.rows)
    if wanted.rows is not None and count != wanted.rows:
        problem = f"found {count:,}. The copy is cut" if count < wanted.rows else "found more"
        raise FormsafeError(
            f"{wanted.key}: expected {wanted.rows:,} rows, {problem}. Take the original, or set {wanted.key}.rows if "
            "you mean this source."
        )


def _check_digest(wanted: Wanted, column: str, count: int, found: str) -> None:
    if wanted.digest is not None and found != wanted.digest:
        raise FormsafeError(
            f"{wanted.key}: its {count} prompts are not those expected: their digest is {found}, the configuration "
            f"expects {wanted.digest} (SHA-256 over normalised prompts, in order). Prompts were changed or moved, or "
            f"the column `{column}` holds something else (in some copies the column names are swapped). Take the "
            f"original, or set {wanted.key}.digest to the new value if you mean this source."
        )
