"""Fetching the corpus and the harmful prompts: the right columns, the right rows, and a manifest of what was found."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formsafe.config.settings.data import DataSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import write_json, write_jsonl
from formsafe.core.texts import content_digest, is_text, normalise, sameness, sha256
from formsafe.sources.rows import SourceRows

Row = dict[str, Any]

# How answers begin that were written to go along with a harmful request: AdvBench's second column.
_AFFIRMATIVE = re.compile(r"(sure|certainly|of course|absolutely|yes)\b[,!.]?\s|here(\s(is|are)|'s)\b", re.IGNORECASE)


@dataclass(frozen=True)
class ExpectedPrompts:
    """What a source of harmful prompts must look like."""

    prompt_column: str
    category_column: str | None = None
    rows: int | None = None
    digest: str | None = None


def fetch_corpus(
    source: DataSource,
    licence: str,
    response_field: str,
    rows: int | None,
    lock: Path | str,
    raw: Path | str,
    manifest: Path | str,
) -> Row:
    """Fetch the articles into `raw` as `{row, title, response}`, values as they are.

    Args:
        source: where they come from.
        licence: noted in the manifest.
        response_field: column that becomes the response.
        rows: how many rows there must be, if known.
        lock: the lock of sources.
        raw: output.
        manifest: output: source, commit, rows, columns, digest.

    Raises:
        FormsafeError: it cannot be had, lacks a column, has another number of rows, or has changed.
    """
    found = SourceRows(source, lock)

    def records() -> Iterator[Row]:
        columns: dict[str, str] = {}
        for number, row in enumerate(found):
            if not columns:
                columns = {name: find_column("corpus", name, list(row))[0] for name in ("title", response_field)}
            yield {"row": number, "title": row.get(columns["title"]), "response": row.get(columns[response_field])}
        _check_any("corpus", found)
        _check_rows("corpus", found.count, rows)
        found.settle()

    write_jsonl(raw, _utf8(records()))
    record = {**found.describe(), "licence": licence, "response_field": response_field}
    write_json(manifest, record)
    return record


def fetch_harmful(
    name: str,
    source: DataSource,
    licence: str,
    expected: ExpectedPrompts,
    lock: Path | str,
    raw: Path | str,
    manifest: Path | str,
) -> Row:
    """Fetch one source of harmful prompts into `raw` as `{row, prompt, category}`, edges stripped.

    Raises:
        FormsafeError: it cannot be had or is not the source meant: a column is missing, twice there or holds answers,
            rows are missing, or the content differs. Messages hold counts and digests, never prompts.
    """
    found = SourceRows(source, lock)
    rows = list(found)
    where = f"harmful.{name}"
    _check_any(where, found)
    prompt, notes = find_column(where, expected.prompt_column, found.columns)
    category = None
    if expected.category_column is not None:
        category, more = find_column(where, expected.category_column, found.columns)
        notes += more
    records = [_harmful_record(where, number, row, prompt, category) for number, row in enumerate(rows)]
    prompts = [record["prompt"] for record in records]
    _check_not_answers(where, prompt, prompts)
    _check_rows(where, len(prompts), expected.rows)
    digest = content_digest(prompts)
    _check_digest(where, prompt, len(prompts), digest, expected.digest)
    found.settle()
    write_jsonl(raw, records)
    notes += [f"{where}: the column {column!r} numbers the rows; not used" for column in _row_numbers(found, rows)]
    edges = sum(row[prompt] != record["prompt"] for row, record in zip(rows, records, strict=True))
    if edges:
        notes.append(f"{where}: removed white space at the edges of {edges:,} prompts")
    record = {
        "name": name,
        **found.describe(),
        "licence": licence,
        "prompts_digest": digest,
        "digest_checked": expected.digest is not None,
        "edge_white_space_removed": edges,
        "repeated_prompts": len(prompts) - len({sameness(prompt) for prompt in prompts}),
        "notes": notes,
    }
    print("\n".join([f"{where}: {len(prompts)} prompts, digest {digest}", *notes]))
    write_json(manifest, record)
    return record


def find_column(where: str, wanted: str, columns: list[str]) -> tuple[str, list[str]]:
    """Find a column by name, letter case and edge white space aside; return it with a note if it was named otherwise.

    Raises:
        FormsafeError: there are several; or none: names what was found, unless it may be a prompt (a file without a
            header).
    """
    alike = [column for column in columns if sameness(column) == sameness(wanted)]
    if len(alike) > 1:
        raise FormsafeError(
            f"{where}: the columns {', '.join(map(repr, alike))} may all be meant by `{wanted}`. Rename or remove all "
            "but one."
        )
    if alike:
        return alike[0], [f"{where}: took the column {alike[0]!r} for {wanted!r}"] if alike != [wanted] else []
    shown = ", ".join(
        column if re.fullmatch(r"[\w.-]{0,30}", column) else f"<{len(column)} characters, sha256 {sha256(column)[:8]}>"
        for column in columns
    )
    if any(len(column.split()) > 3 for column in columns):
        raise FormsafeError(
            f"{where}: its first line holds data, not column names: expected a column `{wanted}`, found {shown}. "
            "The file has no header: take the original, or add a first line with the column names."
        )
    raise FormsafeError(
        f"{where}: expected a column `{wanted}`, found {shown or 'none'}. Take the original, or name the right column "
        "in the configuration."
    )


def _harmful_record(where: str, number: int, row: Row, prompt: str, category: str | None) -> Row:
    text = row.get(prompt)
    if not is_text(text) or not normalise(str(text)):
        raise FormsafeError(f"{where}: row {number} has no text in the column `{prompt}`.")
    label = row.get(category) if category is not None else None
    if category is not None and (not is_text(label) or not normalise(str(label))):
        raise FormsafeError(f"{where}: row {number} has no text in the column `{category}`.")
    return {"row": number, "prompt": str(text).strip(), "category": label}


def _row_numbers(found: SourceRows, rows: list[Row]) -> list[str]:
    counts = [[str(number + first) for number in range(len(rows))] for first in (0, 1)]
    return [column for column in found.columns if [str(row.get(column)) for row in rows] in counts]


def _check_any(where: str, found: SourceRows) -> None:
    if found.count == 0:
        raise FormsafeError(f"{where}: the source {found.place} has no rows.")


def _check_not_answers(where: str, column: str, prompts: list[str]) -> None:
    answers = sum(_AFFIRMATIVE.match(prompt) is not None for prompt in prompts)
    if answers > len(prompts) / 2:
        raise FormsafeError(
            f"{where}: the column `{column}` holds answers, not requests: {answers} of {len(prompts)} rows begin like "
            '"Sure, here is". In copies of this data the column names stand in the wrong order; take the original or '
            "swap the names in the first line."
        )


def _check_rows(where: str, found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        cut = " The copy is cut." if found < expected else ""
        raise FormsafeError(
            f"{where}: expected {expected:,} rows, found {found:,}.{cut} Take the original, or set {where}.rows if you "
            "mean this source."
        )


def _check_digest(where: str, column: str, count: int, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise FormsafeError(
            f"{where}: its {count} prompts are not those expected: their digest is {found}, the configuration expects "
            f"{expected} (SHA-256 over normalised prompts, in order). Prompts were changed or moved, or the column "
            f"`{column}` holds something else (in some copies the column names are swapped). Take the original, or set "
            f"{where}.digest to the new value if you mean this source."
        )


def _utf8(records: Iterator[Row]) -> Iterator[Row]:
    """Replace values that are not text by null: the corpus split counts such rows as unusable."""
    for record in records:
        yield {key: value if key == "row" or is_text(value) else None for key, value in record.items()}
