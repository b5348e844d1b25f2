"""The decoding loop: left-padded batches that finished rows leave.

`generate` of transformers gives the same tokens. This loop is faster on batches whose answers end at different times,
starts from a shared prefix, and notes the probabilities of digits on the way. `Steps` computes the next logits: with a
growing cache here, with static buffers on a GPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import DynamicCache, PreTrainedModel

from formsafe.generation.buffers import GrowingLayer, growing_cache
from formsafe.generation.prefix import SharedPrefix
from formsafe.generation.sampling import DigitWatch, Generated, Sampler

# Finished rows leave the batch once they are this share of it: leaving costs a copy of the cache.
_LEAVING_SHARE = 0.125
_NONE = -1  # the token of a row that has finished and not left yet


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the left, without their shared prefix.

    `inputs` are `input_ids` `[rows, tokens]` or `inputs_embeds` `[rows, tokens, width]`; `mask` `[rows, tokens]` is 0
    at the pads; at most `new_tokens` follow.
    """

    inputs: dict[str, torch.Tensor]
    mask: torch.Tensor
    new_tokens: int
    prefix: SharedPrefix | None = None

    @property
    def positions(self) -> torch.Tensor:
        """Position of each token, `[rows, tokens]`: pads do not count, the prefix does."""
        # without the clamp a pad before the first token would have position -1, which rotary tables lack
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)
        return positions if self.prefix is None else positions + len(self.prefix)


class Steps(Protocol):
    """Computes the next logits of a batch step by step, and holds its keys and values."""

    def read(self) -> torch.Tensor:
        """Read the prompts; return the logits after them, `[rows, vocabulary]`."""
        ...

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token per row, `[rows]`; return the logits after it, `[rows, vocabulary]`."""
        ...

    def compact(self, alive: Sequence[bool]) -> list[int] | None:
        """Drop rows that have finished, where that pays; return the rows that are kept, all living ones among them."""
        ...


class GrowingSteps:
    """Steps of any model of transformers, with a cache that grows and that finished rows leave."""

    def __init__(self, model: PreTrainedModel, batch: Batch) -> None:
        self._model, self._inputs = model, batch.inputs
        self._mask, self._positions = batch.mask, batch.positions
        prefix, (rows, tokens) = batch.prefix, batch.mask.shape
        before = 0 if prefix is None else len(prefix)
        self._cache = growing_cache(model.config, before + tokens + batch.new_tokens)
        if prefix is not None:
            self._mask = torch.cat([batch.mask.new_ones(rows, before), batch.mask], dim=1)
            for layer, states in zip(self._cache.layers, prefix.layers, strict=True):
                if isinstance(layer, GrowingLayer) and states is not None:
                    layer.start_from(*states, rows)

    def read(self) -> torch.Tensor:
        """Read the prompts."""
        given = {**self._inputs, "attention_mask": self._mask, "position_ids": self._positions}
        return next_logits(self._model, self._cache, given)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token per row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        self._positions = self._positions[:, -1:] + 1
        self._inputs = {"input_ids": tokens[:, None]}
        return self.read()

    def compact(self, alive: Sequence[bool]) -> list[int] | None:
        """Drop all finished rows once they are an eighth of the batch."""
        if alive.count(False) < max(1, _LEAVING_SHARE * len(alive)):
            return None
        kept = [place for place, still in enumerate(alive) if still]
        places = torch.tensor(kept, device=self._mask.device)
        # not batch_select_indices, which layers of linear attention lack
        self._cache.reorder_cache(places)  # type: ignore[arg-type]
        self._mask, self._positions = self._mask[places], self._positions[places]
        return kept


def next_logits(model: PreTrainedModel, cache: DynamicCache, given: Mapping[str, Any]) -> torch.Tensor:
    """Append what is given to a cache; return the logits after each row's last token, `[rows, vocabulary]`."""
    logits: torch.Tensor = model(**given, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    return logits


def pad_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, each `[rows, longest]`, with the pads (any id, masked) on the left."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


@torch.inference_mode()
def decode(
    steps: Steps, rows: int, stop_ids: Sequence[int], sampler: Sampler, watch: DigitWatch | None = None
) -> list[Generated]:
    """Decode one batch.

    Args:
        steps: computes the logits.
        rows: number of prompts.
        stop_ids: tokens that end an answer.
        sampler: chooses tokens; its settings say how many at most.
        watch: digits whose probabilities are noted.

    Returns:
        One result per prompt, in order.
    """
    targets = results = [Generated() for _ in range(rows)]
    alive = [True] * rows
    logits = steps.read()
    in_batch = torch.arange(rows, device=logits.device)
    chosen = in_batch
    for step in range(sampler.decoding.max_new_tokens):
        if step:
            logits = steps.step(chosen)
        chosen = sampler.choose(logits, in_batch, step)
        tokens = [token if still else _NONE for token, still in zip(chosen.tolist(), alive, strict=True)]
        if watch is not None:
            watch.note(logits, tokens, targets)
        alive = [_append(target, token, stop_ids) for target, token in zip(targets, tokens, strict=True)]
        if not any(alive):
            break
        kept = steps.compact(alive)
        if kept is not None:
            targets, alive = [targets[place] for place in kept], [alive[place] for place in kept]
            places = torch.tensor(kept, device=logits.device)
            in_batch, chosen = in_batch[places], chosen[places]
    return results


def _append(target: Generated, token: int, stop_ids: Sequence[int]) -> bool:
    """Add a token to its answer; return whether the answer goes on."""
    if token == _NONE:
        return False
    if token in stop_ids:
        target.stopped = True
        return False
    target.ids.append(token)
    return True
