"""Fetching the corpus and the harmful prompts: the right columns, the right rows, and a manifest of what was found."""

import re
from pathlib import Path
from typing import Any

from formsafe.config.settings.data import CorpusSettings, HarmfulSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import write_json, write_jsonl
from formsafe.core.layout import manifest_of
from formsafe.core.texts import content_digest, is_text, normalise, sameness, sha256
from formsafe.sources.readers import Row
from formsafe.sources.rows import SourceRows, read_source

# How answers begin that were written to go along with a harmful request: AdvBench's second column. In copies of it the
# two column names are often in the wrong order.
_AFFIRMATIVE = re.compile(r"(sure|certainly|of course|absolutely|yes)\b[,!.]?\s|here(\s(is|are)|'s)\b", re.IGNORECASE)
# A column's name that is safe to show: anything longer or with other characters may be a prompt.
_SHORT_NAME = re.compile(r"[\w.-]{0,30}")


def fetch_corpus(corpus: CorpusSettings, raw: Path | str, lock: Path | str) -> None:
    """Fetch the articles as `{row, title, response}`; values that are not text become null, which the split counts.

    Args:
        corpus: where they are and what they must look like.
        raw: the file for the rows; the record of what was found goes to its manifest.
        lock: the lock of sources.

    Raises:
        FormsafeError: it cannot be had, lacks a column, has another number of rows, or has changed.
    """
    columns = {"title_field": corpus.title_field, "response_field": corpus.response_field}
    found, columns, _ = _read("corpus", corpus, columns, lock)
    _check_rows("corpus", len(found.rows), corpus.rows)
    names = {"title": columns["title_field"], "response": columns["response_field"]}
    records = []
    for number, row in enumerate(found.rows):
        texts = {name: row.get(column) for name, column in names.items()}
        records.append({"row": number} | {name: text if is_text(text) else None for name, text in texts.items()})
    _write(raw, lock, found, records, licence=corpus.licence, response_field=corpus.response_field)


def fetch_harmful(key: str, harmful: HarmfulSettings, raw: Path | str, lock: Path | str) -> None:
    """Fetch one source of prompts as `{row, prompt, category}`, without white space at the edges.

    Args:
        key: its place in the configuration, e.g. `harmful.advbench`.
        harmful: where it is and what it must look like.
        raw: the file for the rows; the record of what was found goes to its manifest.
        lock: the lock of sources.

    Raises:
        FormsafeError: it cannot be had or is not the source meant: a column is missing, twice there or holds answers,
            rows are missing, or the content differs. Messages hold counts and digests, never prompts.
    """
    names = {"prompt_column": harmful.prompt_column, "category_column": harmful.category_column}
    wanted = {setting: name for setting, name in names.items() if name is not None}
    found, columns, notes = _read(key, harmful, wanted, lock)
    records = [_harmful_record(key, number, row, columns) for number, row in enumerate(found.rows)]
    prompts = [record["prompt"] for record in records]
    column, digest, checked = columns["prompt_column"], content_digest(prompts), harmful.digest is not None
    _check_not_answers(key, column, prompts)
    _check_rows(key, len(found.rows), harmful.rows)
    if checked and digest != harmful.digest:
        raise FormsafeError(
            f"{key}: its {len(prompts)} prompts are not those expected: their digest is {digest}, the configuration "
            f"expects {harmful.digest} (SHA-256 over normalised prompts, in order). Prompts were changed or moved, or "
            f"the column `{column}` holds something else (in some copies the column names are swapped). Take the "
            f"original, or set {key}.digest to the new value if you mean this source."
        )
    if edges := sum(row[column] != prompt for row, prompt in zip(found.rows, prompts, strict=True)):
        notes.append(f"{key}: removed white space at the edges of {edges:,} prompts")
    print("\n".join([f"{key}: {len(prompts)} prompts, digest {digest}", *notes]))
    about: dict[str, Any] = {"licence": harmful.licence, "name": key.removeprefix("harmful.")}
    about |= {"prompts_digest": digest, "digest_checked": checked, "notes": notes}
    _write(raw, lock, found, records, **about)


def _read(
    key: str, settings: CorpusSettings | HarmfulSettings, wanted: dict[str, str], lock: Path | str
) -> tuple[SourceRows, dict[str, str], list[str]]:
    """Rows, the name of each wanted column by its key, and notes on those with a slightly different name."""
    found = read_source(settings.source, lock, settings.rows)
    if not found.rows:
        raise FormsafeError(f"{key}: the source {found.place} has no rows, or no file (looked from {Path.cwd()}).")
    columns = {setting: find_column(key, setting, name, list(found.rows[0])) for setting, name in wanted.items()}
    renamed = [(columns[setting], name) for setting, name in wanted.items() if columns[setting] != name]
    return found, columns, [f"{key}: took the column {column!r} for {name!r}" for column, name in renamed]


def _write(raw: Path | str, lock: Path | str, found: SourceRows, records: list[Row], **more: Any) -> None:
    found.settle(lock)
    write_jsonl(raw, records)
    write_json(manifest_of(str(raw)), {**found.describe(), **more})


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


def _check_rows(key: str, count: int, wanted: int | None) -> None:
    if wanted is not None and count != wanted:
        problem = f"found {count:,}. The copy is cut" if count < wanted else "found more"
        raise FormsafeError(
            f"{key}: expected {wanted:,} rows, {problem}. Take the original, or set {key}.rows if you mean this source."
        )
