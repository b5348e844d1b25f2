"""Which harmful (1,320 from four sources: paper, section 4) or benign prompts are used, under ids that stay."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl, write_json
from formsafe.core.texts import content_digest, sameness, sha256
from formsafe.data.records import HarmfulPrompt

Select = Literal["first", "stratified", "sample"]
Row = dict[str, Any]


def select_harmful(
    raw: Mapping[str, Path], choices: Mapping[str, Mapping[str, Any]], prompts: str | Path, manifest: str | Path
) -> list[HarmfulPrompt]:
    """Choose prompts from every source and write them into one file.

    Args:
        raw: rows `{row, prompt, category}` by source.
        choices: `count`, `select`, `seed` and perhaps `categories` by source, in the order of the output.
        prompts: file of `HarmfulPrompt` to write, with the name of the set (`harmful`, `benign`).
        manifest: JSON of counts and digests to write (no prompts).

    Returns:
        The records of `prompts`.

    Raises:
        FormsafeError: a source has fewer rows than asked for, or not the categories.
    """
    chosen: list[HarmfulPrompt] = []
    sources = {}
    for name, choice in choices.items():
        rows = select_rows(f"{Path(prompts).stem}.{name}", read_jsonl(raw[name]), **choice)
        chosen += [harmful_prompt(name, row) for row in rows]
        sources[name] = {
            **choice,
            "digest": content_digest(row["prompt"] for row in rows),
            "categories": dict(Counter(row["category"] for row in rows if row["category"] is not None)),
        }
    repeated = len(chosen) - len({sameness(record.prompt) for record in chosen})
    HarmfulPrompt.write(prompts, chosen)
    write_json(manifest, {"prompts": len(chosen), "repeated_prompts": repeated, "sources": sources})
    return chosen


def select_rows(
    key: str, rows: Sequence[Row], count: int, select: Select, seed: int, categories: Sequence[str] = ()
) -> list[Row]:
    """Choose `count` rows, in the order of the source; with `stratified` and `sample` more rows contain the fewer.

    `key` names the source in errors, as the configuration does; `categories`: only rows of these; empty: all.
    """
    if unknown := set(categories) - {row["category"] for row in rows}:
        raise FormsafeError(f"The source of {key} has no category {min(unknown)!r}; see {key}.category_column.")
    rows = [row for row in rows if not categories or row["category"] in categories]
    if count > len(rows):
        raise FormsafeError(f"{key}.count asks for {count:,} prompts, but the source has {len(rows):,}.")
    if select == "first":
        return list(rows[:count])
    shuffled = sorted(rows, key=lambda row: sha256(f"{seed}\n{row['row']}\n{row['prompt']}"))
    if select == "stratified":
        shuffled = _round_robin(key, rows, shuffled)
    return sorted(shuffled[:count], key=lambda row: row["row"])


def harmful_prompt(name: str, row: Row) -> HarmfulPrompt:
    """The record of a row of the source `name`."""
    return HarmfulPrompt(id=prompt_id(name, row), source=name, category=row["category"], prompt=row["prompt"])


def prompt_id(name: str, row: Row) -> str:
    """Name a prompt by source, row and digest, so that neither order nor selection changes its id."""
    return f"{name}-{row['row']}-{content_digest([row['prompt']])[:8]}"


def _round_robin(key: str, rows: Sequence[Row], shuffled: Sequence[Row]) -> list[Row]:
    """One row of each category in turn, categories in the source's order."""
    if any(row["category"] is None for row in rows):
        raise FormsafeError(f"{key}.select is `stratified`, which needs {key}.category_column.")
    columns: dict[str, list[Row]] = {row["category"]: [] for row in rows}
    for row in shuffled:
        columns[row["category"]].append(row)
    return [row for turn in zip_longest(*columns.values()) for row in turn if row is not None]
