"""What goes into a model and what comes out, whichever engine answers."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from formsafe.journal import Journal
from formsafe.settings.generation import Decoding


@dataclass(frozen=True)
class Prompt:
    """One message to the model."""

    id: str
    text: str
    system: str | None = None

    @property
    def sha256(self) -> str:
        """Digest (hex) of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Reply:
    """What the model wrote.

    `tokens` is None where a server does not tell. `digits` are the places of the digits 1 to 5 that an engine watched:
    (characters of the text up to and with the digit, probabilities of the five).
    """

    text: str
    tokens: int | None
    finish_reason: Literal["stop", "length"]
    digits: tuple[tuple[int, tuple[float, ...]], ...] = ()

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Reply":
        """Rebuild a reply from `record()`."""
        digits = tuple((end, tuple(probabilities)) for end, probabilities in record["digits"])
        return cls(**{**record, "digits": digits})

    def record(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return asdict(self)


class Engine(Protocol):
    """Something that answers prompts."""

    def complete(self, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str) -> None:
        """Answer those of `prompts` that the section of the journal lacks, adding each to it as it is done."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready mapping of what determines the replies besides prompts and settings, for the journal's header."""
        ...


def ask(engine: Engine, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str) -> list[Reply]:
    """Replies to `prompts`, in their order, taken from the journal as far as they are there."""
    engine.complete(prompts, decoding, journal, section)
    replies = journal.replies(section)
    return [Reply.of(replies[prompt.id]) for prompt in prompts]
