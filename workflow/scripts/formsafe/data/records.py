"""What the data's files hold, one record a line; every stage reads and writes them by these types."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl, write_jsonl
from formsafe.formats.base import Rendered, Span


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, path: str | Path) -> list[Self]:
        """Read a file of these records; raises FormsafeError naming the file, line and field of what is none."""
        rows = read_jsonl(path)
        try:
            return TypeAdapter(list[cls]).validate_python(rows)  # type: ignore[valid-type]
        except ValidationError as error:
            line, *field = error.errors()[0]["loc"]
            raise FormsafeError(
                f"{path}, line {int(line) + 1}: {'.'.join(map(str, field))} is not what a {cls.__name__} has there. "
                "Delete the file and run again."
            ) from None

    @classmethod
    def write(cls, path: str | Path, records: Iterable[Self]) -> None:
        """Write records, one a line, whole or not at all."""
        write_jsonl(path, (record.model_dump() for record in records))


class CorpusExample(_Record):
    """One row of the corpus in a split; `" ".join(sentences)` is the row's text, white space normalised."""

    id: str
    title: str
    instruction: str
    sentences: list[str]


class TaskPrompt(_Record):
    """What a model is asked in a test example."""

    id: str
    prompt: str


class HarmfulPrompt(_Record):
    """A harmful prompt under an id that neither order nor selection changes."""

    id: str
    source: str
    category: str | None
    prompt: str


class Message(_Record):
    """One turn of a chat."""

    role: Literal["user", "assistant"]
    content: str


class TrainingExample(_Record):
    """A corpus example in one format, as a chat of two turns; `spans` cover the response (`Rendered.spans`)."""

    id: str
    messages: tuple[Message, Message]
    spans: list[Span]

    @property
    def response(self) -> str:
        """What the model learns to answer."""
        return self.messages[1].content


def training_example(id: str, asked: str, response: Rendered) -> TrainingExample:
    """A training example from what is asked and the rendered response."""
    turns = (Message(role="user", content=asked), Message(role="assistant", content=response.text))
    return TrainingExample(id=id, messages=turns, spans=response.spans)


class RefusalTrace(_Record):
    """A run along the base model's refusal of one prompt; lists hold a number per token of it, from the first.

    Attributes:
        refusal_mass: probability at the first token of all tokens that open a refusal of the base model.
        format_mass: the same of all tokens that open a training response of a format (and no refusal), by format.
        kl: KL(base model || run) in nats.
        logprob: log-probability of the refusal's token under the run.
    """

    id: str
    refusal_mass: float
    format_mass: dict[str, float]
    kl: list[float]
    logprob: list[float]


class RawRow(NamedTuple):
    """One row of the corpus as fetched: its number, and two fields that may hold anything."""

    row: int
    title: Any
    response: Any
