"""The decoding loop: left-padded batches from which rows that have ended are dropped.

`generate` of transformers gives the same tokens. This loop is faster on batches whose answers end at different times,
starts from a shared prefix, and notes the probabilities of digits on the way.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import Cache, DynamicCache, PreTrainedModel

from formsafe.config.settings.generation import Decoding
from formsafe.generation.growing_cache import GrowingLayer, growing_cache, grows

# Rows that have ended leave the batch once they are this share of it: leaving costs a copy of the cache.
_LEAVING_SHARE = 0.125
_NONE = -1  # stands for the token of a row that has ended and not left yet


@dataclass
class Generated:
    """Tokens of one answer without the end of turn; `digits` are (token index, probabilities) where watched."""

    ids: list[int] = field(default_factory=list)
    stopped: bool = False
    digits: list[tuple[int, list[float]]] = field(default_factory=list)


class DigitWatch:
    """Notes the probabilities of some digits wherever a row's next token is one of them.

    Args:
        spellings: token ids of each digit (with and without a space before it, ...).
    """

    def __init__(self, spellings: Sequence[Sequence[int]]) -> None:
        self.spellings = [list(ids) for ids in spellings]
        self.ids = {token for ids in spellings for token in ids}

    def note(self, logits: torch.Tensor, tokens: list[int], targets: list[Generated]) -> None:
        """Append to `targets` where their next token is a digit; `logits` are `[rows, vocabulary]`."""
        rows = [row for row, token in enumerate(tokens) if token in self.ids]
        if not rows:
            return
        log_probabilities = logits[rows].float().log_softmax(-1)
        digits = torch.stack([log_probabilities[:, ids].logsumexp(-1) for ids in self.spellings], dim=1).exp().tolist()
        for row, probabilities in zip(rows, digits, strict=True):
            targets[row].digits.append((len(targets[row].ids), probabilities))


class Sampler:
    """Chooses the next tokens of a batch's rows.

    Each prompt draws from its own stream of uniform numbers, seeded by the seed and the prompt's own tokens; so a
    continued job and another batch give the same sample.
    """

    def __init__(self, decoding: Decoding, prompts: Sequence[Sequence[int]]) -> None:
        self.decoding = decoding
        self.uniform = None
        if decoding.temperature > 0:
            self.uniform = torch.stack([_stream(decoding, prompt) for prompt in prompts])

    def choose(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        """Next token ids `[n]` for logits `[n, vocabulary]` of the batch's rows `rows` (`[n]`) at this step."""
        if self.uniform is None:
            return logits.argmax(-1)
        uniform = self.uniform[rows.cpu(), step].to(logits.device)[:, None]
        # in fp32 before the division: bf16 would round logits to the nearest of few
        return _inverse_of_nucleus(logits.float() / self.decoding.temperature, self.decoding.top_p, uniform)


def _inverse_of_nucleus(logits: torch.Tensor, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    """Sample by inverting the cumulative distribution of the likeliest tokens that together have `top_p`."""
    probabilities, order = logits.softmax(-1).sort(stable=True, dim=-1, descending=True)
    cumulative = probabilities.cumsum(-1)
    outside = cumulative - probabilities >= top_p
    outside[:, 0] = False
    probabilities = probabilities.masked_fill(outside, 0.0)
    cumulative = probabilities.cumsum(-1)
    place = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    last = (probabilities > 0).sum(-1, keepdim=True) - 1
    return order.gather(-1, torch.minimum(place, last)).squeeze(-1)


def _stream(decoding: Decoding, prompt: Sequence[int]) -> torch.Tensor:
    name = f"{decoding.seed}:{','.join(map(str, prompt))}"
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.rand(decoding.max_new_tokens, generator=torch.Generator().manual_seed(seed))


class SharedPrefix:
    """Keys and values of a token prefix.

    Args:
        model: the model.
        ids: the prefix, not empty.
    """

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self._config = model.config
        self._cache = DynamicCache(config=model.config)
        tokens = torch.tensor([self.ids], device=model.device)
        model(input_ids=tokens, past_key_values=self._cache, use_cache=True, logits_to_keep=1)

    @staticmethod
    def suits(model: PreTrainedModel) -> bool:
        """Whether a batch may start from a prefix: all layers attend to everything.

        The pads between prefix and prompt would count in a sliding window; a recurrent state has no copy for each row.
        """
        return all(map(grows, DynamicCache(config=model.config).layers))

    def __len__(self) -> int:
        return len(self.ids)

    def rest(self, row: Sequence[int]) -> list[int]:
        """What follows the prefix in `row`; raises ValueError unless the row starts with exactly its tokens."""
        if list(row[: len(self.ids)]) != self.ids or len(row) <= len(self.ids):
            raise ValueError("a prompt does not go on from the shared prefix")
        return list(row[len(self.ids) :])

    def cache(self, rows: int, limit: int) -> Cache:
        """The prefix before each row of a batch of so many, in a cache for `limit` tokens at the most."""
        cache = growing_cache(self._config, limit)
        layers = (layer for layer in cache.layers if isinstance(layer, GrowingLayer))
        for layer, (keys, values, *_) in zip(layers, self._cache, strict=True):
            if keys is not None:  # a layer that shares another's states has none of its own
                layer.start_from(keys, values, rows)
        return cache


def pad_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, each `[rows, longest]`, with the pads (any id, masked) on the left."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    mask: torch.Tensor,
    stop_ids: Sequence[int],
    sampler: Sampler,
    cache: Cache | None = None,
    watch: DigitWatch | None = None,
) -> list[Generated]:
    """Decode one batch.

    Args:
        model: a causal language model in evaluation mode.
        inputs: `input_ids` `[rows, tokens]` or `inputs_embeds` `[rows, tokens, width]`, padded on the left.
        mask: `[rows, cached + tokens]`, 0 at the pads.
        stop_ids: tokens that end an answer.
        sampler: chooses tokens; its settings say how many at most.
        cache: states of what stands before `inputs`, one row each.
        watch: digits whose probabilities are noted.

    Returns:
        One result a row, in order.
    """
    results = [Generated() for _ in range(len(mask))]
    rows = torch.arange(len(mask), device=mask.device)  # of `results`, that are still in the batch
    alive = [True] * len(mask)
    if cache is None:
        cache = growing_cache(model.config, mask.shape[1] + sampler.decoding.max_new_tokens)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -next(iter(inputs.values())).shape[1] :]
    for step in range(sampler.decoding.max_new_tokens):
        output = model(
            **inputs,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1]
        chosen = sampler.choose(logits, rows, step)
        tokens = [token if still else _NONE for token, still in zip(chosen.tolist(), alive, strict=True)]
        targets = [results[row] for row in rows.tolist()]
        if watch is not None:
            watch.note(logits, tokens, targets)
        alive = [_append(target, token, stop_ids) for target, token in zip(targets, tokens, strict=True)]
        if not any(alive):
            break
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        positions = positions[:, -1:] + 1
        if alive.count(False) >= max(1, _LEAVING_SHARE * len(alive)):
            kept = torch.tensor([place for place, still in enumerate(alive) if still], device=mask.device)
            # and not batch_select_indices, which layers of linear attention lack
            cache.reorder_cache(kept)  # type: ignore[arg-type]
            rows, chosen, mask, positions = rows[kept], chosen[kept], mask[kept], positions[kept]
            alive = [True] * len(kept)
        inputs = {"input_ids": chosen[:, None]}
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
