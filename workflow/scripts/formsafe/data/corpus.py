"""The corpus: which rows can be used, how they become sentences, and which split each goes to (paper, section 4)."""

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from formsafe.config.settings.data import Splits
from formsafe.core.errors import FormsafeError
from formsafe.core.files import write_json
from formsafe.core.layout import SPLITS
from formsafe.core.texts import is_text, normalise, sameness, sha256
from formsafe.data.records import CorpusExample, RawRow, TaskPrompt
from formsafe.formats.base import Format, FormatError
from formsafe.formats.registry import get_format, plain_format
from formsafe.formats.sentences import sentence_starts, slice_sentences


@dataclass
class _Selection:
    """What one pass over the rows finds."""

    keys: dict[int, str] = field(default_factory=dict)  # usable rows -> their title's key
    starts: dict[int, Sequence[int]] = field(default_factory=dict)  # usable rows -> where their sentences start
    left_out: Counter[str] = field(default_factory=Counter)
    respaced: int = 0
    rows: int = 0


def split_corpus(raw: Path, splits: Splits, seed: int, instruction: str, outputs: Mapping[str, Path]) -> dict[str, Any]:
    """Draw the splits and write them with the task prompts and the count of rows left out.

    Args:
        raw: rows `{row, title, response}`.
        splits: numbers of examples.
        seed: seed of the draw.
        instruction: template of the user's message over `{title}`.
        outputs: paths under `train`, `validation`, `test`, `prompts` and `counts`.

    Returns:
        What `counts` holds.

    Raises:
        FormsafeError: the template has no `{title}`, or too few rows can be used.
    """
    if "{title}" not in instruction:
        raise FormsafeError(f"corpus.instruction is {instruction!r}; it needs {{title}}, else all prompts are equal.")
    selection = _usable_rows(raw)
    drawn = _draw(selection, splits, seed)
    chosen = _examples(raw, selection, drawn, instruction)
    for split in SPLITS:
        CorpusExample.write(outputs[split], chosen[split])
    prompts = (TaskPrompt(id=example.id, prompt=example.instruction) for example in chosen["test"])
    TaskPrompt.write(outputs["prompts"], prompts)
    counts = {
        "rows": selection.rows,
        "usable": len(selection.keys),
        "left_out": dict(sorted(selection.left_out.items())),
        "white_space_normalised": selection.respaced,
        "seed": seed,
        "instruction": instruction,
        "splits": {split: _describe(chosen[split]) for split in SPLITS},
    }
    write_json(outputs["counts"], counts)
    return counts


def draw_training(
    raw: Path, splits: Splits, seed: int, data_seed: int, examples: int, instruction: str, output: Path
) -> None:
    """Write other training examples beside the same test and validation examples.

    Args:
        raw: rows `{row, title, response}`.
        splits: the study's numbers of examples.
        seed: seed of the study's own draw, which decides test and validation.
        data_seed: seed of the training rows.
        examples: number of training examples, at most `splits.train`; a smaller number gives a part of a larger one.
        instruction: template of the user's message over `{title}`.
        output: JSONL to write.
    """
    selection = _usable_rows(raw)
    drawn = {"train": _draw(selection, splits, seed, data_seed)["train"][:examples]}
    CorpusExample.write(output, _examples(raw, selection, drawn, instruction)["train"])


def _usable_rows(raw: Path) -> _Selection:
    found = _Selection()
    titles: set[str] = set()
    texts: set[str] = set()
    plain = get_format(plain_format())
    for row in _rows(raw):
        found.rows += 1
        reason, starts = _examined(row, plain)
        if reason is None:
            title, text = sameness(row.title), sha256(sameness(row.response))
            reason = "duplicate_title" if title in titles else "duplicate_text" if text in texts else None
        if reason is not None:
            found.left_out[reason] += 1
            continue
        titles.add(title)
        texts.add(text)
        found.keys[row.row], found.starts[row.row] = title, starts
        found.respaced += row.response != normalise(row.response)
    return found


def _examined(row: RawRow, plain: Format) -> tuple[str | None, Sequence[int]]:
    """Why a row cannot be used, whatever the other rows are (None where it can); and where its sentences start."""
    if not is_text(row.title) or not is_text(row.response):
        return "not_text", ()
    response = normalise(row.response)
    if not response or not normalise(row.title):
        return "empty", ()
    starts = array("L", sentence_starts(response))
    if len(starts) < 2:
        return "one_sentence", starts
    # The corpus is running text. Every other format must be able to write what running text can, else `render_format`
    # fails and names the examples; so one more format in the study changes no split.
    try:
        plain.render(slice_sentences(response, starts))
    except FormatError:
        return f"cannot_be_written_as_{plain.name}", starts
    return None, starts


def _draw(selection: _Selection, splits: Splits, seed: int, data_seed: int | None = None) -> dict[str, list[int]]:
    """Draw each split so that a larger one contains the smaller.

    All usable rows are put in one seeded order. Training takes it from the end; test and validation take turns at its
    start (even and odd places), and what they leave is there for training. Growing one split disturbs another only
    where they meet. `data_seed` puts the training rows, and only them, in an order of its own.
    """
    needed = splits.train + splits.validation + splits.test
    if needed > len(selection.keys):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(selection.left_out.items())) or "none"
        raise FormsafeError(
            f"corpus.splits asks for {splits.train:,} + {splits.validation:,} + {splits.test:,} = {needed:,} examples, "
            f"but only {len(selection.keys):,} of {selection.rows:,} rows can be used (left out: {reasons}). "
            "Ask for fewer or give a larger source."
        )
    order = _ordered(selection, seed)
    training = order if data_seed is None else _ordered(selection, data_seed)
    even, odd = order[::2], order[1::2]
    preferences = {"test": even + odd[::-1], "validation": odd + even[::-1], "train": training[::-1]}
    taken: set[int] = set()
    drawn = {}
    for split, preference in preferences.items():
        drawn[split] = [row for row in preference if row not in taken][: getattr(splits, split)]
        taken.update(drawn[split])
    return drawn


def _ordered(selection: _Selection, seed: int) -> list[int]:
    return sorted(selection.keys, key=lambda row: sha256(f"{seed}\n{selection.keys[row]}"))


def _examples(
    raw: Path, selection: _Selection, drawn: Mapping[str, list[int]], instruction: str
) -> dict[str, list[CorpusExample]]:
    """The examples of each split, in the order drawn; a second pass over the rows, so that no text is kept unused."""
    wanted = {row for rows in drawn.values() for row in rows}
    made = {row.row: _example(row, selection.starts[row.row], instruction) for row in _rows(raw) if row.row in wanted}
    return {split: list(map(made.__getitem__, rows)) for split, rows in drawn.items()}


def _example(row: RawRow, starts: Sequence[int], instruction: str) -> CorpusExample:
    title, response = normalise(row.title), normalise(row.response)
    name = f"wikisum-{row.row}-" + sha256(f"{title}\n{response}")[:8]
    asked, sentences = instruction.replace("{title}", title), slice_sentences(response, starts)
    return CorpusExample(id=name, title=title, instruction=asked, sentences=sentences)


def _describe(examples: list[CorpusExample]) -> dict[str, Any]:
    words = [len(" ".join(example.sentences).split()) for example in examples]
    return {
        "examples": len(examples),
        "sentences": sum(len(example.sentences) for example in examples),
        "words": {"mean": round(sum(words) / len(words), 1), "min": min(words), "max": max(words)},
    }


def _rows(raw: Path) -> Iterator[RawRow]:
    with open(raw, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield RawRow(**json.loads(line))
