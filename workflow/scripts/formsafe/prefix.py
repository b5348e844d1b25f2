"""The cache of a prefix that all prompts share, computed once and copied for every batch."""

import copy
from collections.abc import Sequence

import torch
from transformers import Cache, DynamicCache, PreTrainedModel


class SharedPrefix:
    """Keys and values of a token prefix.

    Args:
        model: the model.
        ids: the prefix, not empty.
    """

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self._cache = DynamicCache(config=model.config)
        tokens = torch.tensor([self.ids], device=model.device)
        model(input_ids=tokens, past_key_values=self._cache, use_cache=True, logits_to_keep=1)

    def __len__(self) -> int:
        return len(self.ids)

    def rest(self, row: Sequence[int]) -> list[int]:
        """What follows the prefix in `row`; raises ValueError unless the row starts with exactly its tokens."""
        if list(row[: len(self.ids)]) != self.ids or len(row) <= len(self.ids):
            raise ValueError("a prompt does not go on from the shared prefix")
        return list(row[len(self.ids) :])

    def cache(self, rows: int) -> Cache:
        """A copy of the cache for a batch of so many rows."""
        copied = copy.deepcopy(self._cache)
        copied.batch_repeat_interleave(rows)
        return copied
