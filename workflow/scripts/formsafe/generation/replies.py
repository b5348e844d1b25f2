"""What goes into a model and what comes out, whichever engine answers."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, StrictInt, TypeAdapter, ValidationError, with_config

from formsafe.config.settings.generation import Decoding
from formsafe.core.errors import FormsafeError
from formsafe.core.texts import sha256
from formsafe.generation.journal import Journal

FinishReason = Literal["stop", "length", "refused", "no_room"]


@dataclass(frozen=True)
class Prompt:
    """One message to the model; `assistant` is the answer to it, where the model is to judge a conversation."""

    id: str
    text: str
    system: str | None = None
    assistant: str | None = None

    @property
    def sha256(self) -> str:
        """Digest (hex) of the text."""
        return sha256(self.text)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Reply:
    """What the model wrote.

    Args:
        text: the reply, with the thoughts that it holds.
        tokens: its length; None where a server does not tell.
        finish_reason: `length` where it was cut, `refused` where the service behind a server declined to give it or
            filtered it, `no_room` where the prompt is longer than a server allows.
        digits: places of the digits 1 to 5 that an engine watched: (characters of the text up to and with the digit,
            probabilities of the five).
        thoughts: what a server keeps apart from the text.
    """

    text: str
    tokens: StrictInt | None
    finish_reason: FinishReason
    digits: tuple[tuple[int, tuple[float, ...]], ...] = ()
    thoughts: str = ""

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Reply":
        """Rebuild a reply from `record()`; raises ValueError where it is none."""
        try:
            return _RECORDS.validate_python(record)
        except ValidationError:  # whose message shows the text
            raise ValueError("no reply") from None

    def record(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return asdict(self)


_RECORDS = TypeAdapter(Reply)


class Engine(Protocol):
    """Something that answers prompts."""

    def complete(self, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str) -> None:
        """Answer those of `prompts` that the section of the journal lacks, adding each to it as it is done."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready mapping of what determines the replies besides prompts and settings, for the journal's header."""
        ...

    def record(self, journal: Journal) -> dict[str, Any]:
        """JSON-ready mapping of how the replies were made, for the metrics; it determines no reply."""
        ...

    def room(self, prompt: Prompt) -> float:
        """Tokens that the model's context leaves for a reply, infinite where it is not known."""
        ...

    def close(self) -> None:
        """Give back what was started for the replies."""
        ...


def require_room(engine: Engine, prompts: Iterable[Prompt], decoding: Decoding) -> None:
    """Raise FormsafeError where the model's context leaves too little room for a reply to one of `prompts`."""
    for prompt in prompts:
        if (room := engine.room(prompt)) < decoding.max_new_tokens:
            raise FormsafeError(
                f"Prompt {prompt.id} leaves {max(0, int(room))} tokens of the model's context to a reply, and "
                f"max_new_tokens is {decoding.max_new_tokens}. Lower max_new_tokens or use another model."
            )


def ask(engine: Engine, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str) -> list[Reply]:
    """Replies to `prompts`, in their order, taken from the journal as far as they are there."""
    engine.complete(prompts, decoding, journal, section)
    replies = journal.replies(section)
    try:
        return [Reply.of(replies[prompt.id]) for prompt in prompts]
    except ValueError:
        raise FormsafeError(f"{journal.path} holds something else than a reply. Delete it and run again.") from None


def prompts_digest(prompts: list[Prompt]) -> str:
    """SHA-256 (hex) over ids and texts, one prompt a line of JSON."""
    lines = []
    for prompt in prompts:
        answered = [] if prompt.assistant is None else [prompt.assistant]
        lines.append(json.dumps([prompt.id, prompt.text, prompt.system, *answered]) + "\n")
    return sha256("".join(lines))


def generation_figures(engine: Engine, journal: Journal, replies: list[Reply]) -> dict[str, Any]:
    """What a stage did: replies, tokens (None where a server does not tell), speed, and what the engine says."""
    counts = [reply.tokens for reply in replies if reply.tokens is not None]
    tokens = sum(counts) if len(counts) == len(replies) else None
    seconds = sum(batch["seconds"] for batch in journal.batches)
    return {
        "replies": len(replies),
        "continued": journal.continued,
        "tokens": tokens,
        "generation_seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1) if seconds and tokens is not None else None,
        "cut_off_share": sum(reply.finish_reason == "length" for reply in replies) / max(1, len(replies)),
        "refused_by_service": sum(reply.finish_reason == "refused" for reply in replies),
        **engine.describe(),
        **engine.record(journal),
    }
