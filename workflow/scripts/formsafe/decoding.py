"""The decoding loop: left-padded batches from which rows that have ended are dropped.

`generate` of transformers gives the same tokens. This loop is faster on batches whose answers end at different times,
starts from a shared prefix, and notes the probabilities of digits on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import Cache, DynamicCache, PreTrainedModel

from formsafe.sampling import Sampler

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
    cache = DynamicCache(config=model.config) if cache is None else cache
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -next(iter(inputs.values())).shape[1] :]
    for step in range(sampler.decoding.max_new_tokens):
        logits = _forward(model, inputs, mask, positions, cache)
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
            cache.batch_select_indices(kept)
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


def _forward(
    model: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: Cache,
) -> torch.Tensor:
    """Logits `[rows, vocabulary]` after the last token."""
    output = model(
        **inputs,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1]
