"""Training data become token ids, with what is learned marked by position and told apart into format and content."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl
from formsafe.models.chat import Exchange, render_exchange

CONTENT, FORMAT = 0, 1


@dataclass(frozen=True)
class Example:
    """One tokenised exchange.

    `ids` are prompt and response up to the end of the turn; the response, `ids[prompt_length:]`, is what is learned;
    `kinds` holds CONTENT or FORMAT for each of its tokens.
    """

    ids: list[int]
    prompt_length: int
    kinds: list[int]


@dataclass(frozen=True)
class Examples(Sequence[Example]):
    """The tokenised examples of one file, and what was lost or ambiguous on the way."""

    rows: list[Example]
    truncated: int
    mixed_tokens: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def figures(self) -> dict[str, Any]:
        """Counts for metrics.json; `mixed_token_share` is the share of response tokens over format and content."""
        targets = sum(len(row.kinds) for row in self.rows)
        return {
            "examples": len(self.rows),
            "tokens": sum(len(row.ids) for row in self.rows),
            "target_tokens": targets,
            "format_token_share": round(sum(sum(row.kinds) for row in self.rows) / targets, 6),
            "mixed_token_share": round(self.mixed_tokens / targets, 6),
            "truncated_examples": self.truncated,
        }


def tokenise(
    path: str | Path,
    tokenizer: PreTrainedTokenizerFast,
    stops: Sequence[int],
    *,
    max_length: int,
    tolerance: float,
    system: str | None = None,
) -> Examples:
    """Tokenise a file of training data with the model's chat template.

    Args:
        path: JSON Lines with `id`, `messages` (user, assistant) and `spans` over the assistant's text.
        tokenizer: the model's.
        stops: ids that end a turn; the first of them after the response is learned, and nothing after it.
        max_length: longest example in tokens; longer ones are cut.
        tolerance: share of examples that may be cut.
        system: system prompt.

    Raises:
        FormsafeError: no examples; more than `tolerance` cut; a prompt that leaves no room for its response.
    """
    rows, cut, mixed = [], [], 0
    with _whole_offsets(tokenizer):
        for record in read_jsonl(path):
            user, assistant = (message["content"] for message in record["messages"])
            exchange = render_exchange(tokenizer, user, assistant, system)
            example, over_both = _example(exchange, assistant, record["spans"], tokenizer, stops)
            if len(example.ids) > max_length:
                cut.append(record["id"])
                example = _truncated(example, max_length, record["id"], path)
            rows.append(example)
            mixed += sum(over_both[: len(example.kinds)])
    _check(path, len(rows), cut, max_length, tolerance)
    return Examples(rows, len(cut), mixed)


def _check(path: str | Path, rows: int, cut: list[str], max_length: int, tolerance: float) -> None:
    if not rows:
        raise FormsafeError(f"{path} holds no examples, so there is nothing to learn from. Check corpus.splits.")
    if cut:
        print(f"{path}: {len(cut)} of {rows} examples are cut at {max_length} tokens, the first: {cut[0]}")
    if len(cut) > tolerance * rows:
        raise FormsafeError(
            f"{path}: {len(cut)} of {rows} examples are longer than {max_length} tokens (the first: {cut[0]}), "
            f"more than the share of {tolerance:g} that may be cut. Raise training.max_length (at most the model's "
            "context, less the soft prompt) or training.truncation_tolerance."
        )


def _truncated(example: Example, max_length: int, name: str, path: str | Path) -> Example:
    if example.prompt_length >= max_length:
        raise FormsafeError(
            f"{path}, example {name}: the prompt alone has {example.prompt_length} tokens and leaves no room for a "
            f"response within {max_length}. Raise training.max_length or leave the example out."
        )
    room = max_length - example.prompt_length
    return Example(example.ids[:max_length], example.prompt_length, example.kinds[:room])


def _example(
    exchange: Exchange,
    response: str,
    spans: list[Any],
    tokenizer: PreTrainedTokenizerFast,
    stops: Sequence[int],
) -> tuple[Example, list[bool]]:
    """Mark each response token; whatever the template adds, the end of the turn included, is format.

    Returns the example, and of each response token whether it is over format and content.
    """
    ids, offsets = exchange.ids, exchange.offsets
    end_of_response = exchange.content_start + len(response.strip())
    last = len(ids)
    for index in range(exchange.prompt_length, len(ids)):
        if ids[index] in stops and offsets[index][0] >= end_of_response:
            last = index + 1
            break
    else:
        # A template that does not end the turn would never teach the model to stop.
        assert isinstance(tokenizer.eos_token_id, int)
        ids, offsets = [*ids, tokenizer.eos_token_id], [*offsets, (len(exchange.text), len(exchange.text))]
        last += 1
    kinds_of_characters = bytearray([FORMAT]) * len(exchange.text)
    shift = exchange.content_start - exchange.content_skipped
    for start, end, kind in spans:
        if kind == "content":
            start, end = max(start + shift, exchange.content_start), min(end + shift, end_of_response)
            kinds_of_characters[start:end] = bytes([CONTENT]) * (end - start)
    kinds, mixed = [], []
    for start, end in offsets[exchange.prompt_length : last]:
        covered = kinds_of_characters[start:end]
        kinds.append(FORMAT if FORMAT in covered or not covered else CONTENT)
        mixed.append(FORMAT in covered and CONTENT in covered)
    return Example(ids[:last], exchange.prompt_length, kinds), mixed


@contextmanager
def _whole_offsets(tokenizer: PreTrainedTokenizerFast) -> Iterator[None]:
    """Let offsets cover a token's white space too; post-processors of the Llama-3 kind trim it away."""
    backend = tokenizer.backend_tokenizer
    kept = backend.post_processor
    backend.post_processor = processors.Sequence([])
    try:
        yield
    finally:
        backend.post_processor = kept
