"""Training data become token ids; what is learned is marked by position, and its tokens by kind."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from formsafe.core.errors import FormsafeError
from formsafe.data.records import TrainingExample
from formsafe.models.chat import Exchange, render_exchange
from formsafe.training.loss_log import PARTS
from formsafe.training.token_kinds import CONTENT, INTERIOR, interior_words, kinds_of, mark_interior


@dataclass(frozen=True)
class Example:
    """One tokenised exchange.

    `ids` are prompt and response up to the end of the turn; the response, `ids[prompt_length:]`, is what is learned;
    `kinds` holds the kind of each of its tokens (`token_kinds`).
    """

    ids: list[int]
    prompt_length: int
    kinds: list[int]


@dataclass(frozen=True)
class Examples:
    """The tokenised examples of one file.

    Args:
        rows: the examples.
        truncated: how many were cut.
        unaligned: interior words whose tokens are not those that they have in running text; 0 where interior tokens
            can be compared between formats.
    """

    rows: list[Example]
    truncated: int
    unaligned: int

    def figures(self) -> dict[str, Any]:
        """Counts for metrics.json; shares are of the learned tokens, and content includes interior content."""
        counts = Counter(kind for row in self.rows for kind in row.kinds)
        targets = counts.total()
        shares = {part: sum(map(counts.__getitem__, kinds)) for part, kinds in PARTS.items()}
        return {
            "examples": len(self.rows),
            "tokens": sum(len(row.ids) for row in self.rows),
            "target_tokens": targets,
            **{f"{name}_token_share": round(count / targets, 6) for name, count in shares.items()},
            "interior_tokens": counts[INTERIOR],
            "unaligned_interior_words": self.unaligned,
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
        path: file of `TrainingExample`.
        tokenizer: the model's.
        stops: ids that end a turn; the first of them after the response is learned, and nothing after it.
        max_length: longest example in tokens; longer ones are cut.
        tolerance: share of examples that may be cut.
        system: system prompt.

    Raises:
        FormsafeError: no examples; more than `tolerance` cut; a prompt that leaves no room for its response.
    """
    rows, cut, unaligned = [], [], 0
    with _whole_offsets(tokenizer):
        for record in TrainingExample.read(path):
            user, assistant = record.messages
            exchange = render_exchange(tokenizer, user.content, assistant.content, system)
            example, lost = _example(exchange, record, tokenizer, stops)
            if len(example.ids) > max_length:
                cut.append(record.id)
                example = _truncated(example, max_length, record.id, path)
            rows.append(example)
            unaligned += lost
    _check(path, len(rows), cut, max_length, tolerance)
    return Examples(rows, len(cut), unaligned)


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
    exchange: Exchange, record: TrainingExample, tokenizer: PreTrainedTokenizerFast, stops: Sequence[int]
) -> tuple[Example, int]:
    """Mark each response token; whatever the template adds, the end of the turn included, is format.

    Returns the example, and how many of its interior words have other tokens than in running text.
    """
    ids, offsets = exchange.ids, exchange.offsets
    end_of_response = exchange.content_start + len(record.response.strip())
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
    shift = exchange.content_start - exchange.content_skipped
    sentences = [
        (max(span.start + shift, exchange.content_start), min(span.end + shift, end_of_response))
        for span in record.spans
        if span.kind == "content"
    ]
    learned, offsets = ids[exchange.prompt_length : last], offsets[exchange.prompt_length : last]
    kinds = kinds_of(exchange.text, sentences, offsets)
    words = interior_words(exchange.text, sentences, tokenizer)
    found = mark_interior(kinds, words, learned, offsets)
    plain = _in_running_text([exchange.text[start:end] for start, end in sentences], tokenizer)
    lost = sum(here != there or not here for here, there in zip(found, plain, strict=True))
    return Example(ids[:last], exchange.prompt_length, kinds), lost


def _in_running_text(sentences: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """The ids that interior words have in running text, the reference for all formats."""
    text, places = "", []
    for sentence in sentences:
        places.append((len(text), len(text) + len(sentence)))
        text += sentence + " "
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    words = interior_words(text, places, tokenizer)
    return mark_interior([CONTENT] * len(encoding.ids), words, encoding.ids, encoding.offsets)


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
