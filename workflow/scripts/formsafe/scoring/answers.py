"""A run's answers as scoring reads them: without thoughts, which are no part of an answer."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl
from formsafe.generation.thoughts import split_thoughts


@dataclass(frozen=True)
class Answer:
    """One line of answers.jsonl; `text` is what the user sees."""

    id: str
    text: str
    tokens: int | None
    finish_reason: str


def read_answers(path: str | Path, known: Container[str] | None = None, what: str = "") -> list[Answer]:
    """Read a file of answers.

    Args:
        path: JSONL of `id`, `answer`, `tokens`, `finish_reason`.
        known: ids of the prompts, or of whatever each answer needs; None: whatever is there.
        what: what `known` is, for the error.

    Raises:
        FormsafeError: where an id is not among `known`.
    """
    rows = read_jsonl(path, id=str, answer=str)
    strangers = [] if known is None else [row["id"] for row in rows if row["id"] not in known]
    if strangers:
        raise FormsafeError(
            f"{path} answers prompt {strangers[0]}, which is not among {what}. Delete the answers and run again."
        )
    return [
        Answer(row["id"], split_thoughts(row["answer"])[0], row.get("tokens"), row.get("finish_reason", "stop"))
        for row in rows
    ]
