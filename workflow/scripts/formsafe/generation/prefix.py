"""What all prompts of a stage start with, computed once: a judge prompt has 1,000 tokens that never change."""

from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from formsafe.generation.buffers import grows


class SharedPrefix:
    """Keys and values of a token prefix.

    `layers` holds for each layer its keys and values, `[1, heads, tokens, width]`, or None for a layer that shares
    another's.

    Args:
        model: the model.
        ids: the prefix, not empty.
    """

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        cache = DynamicCache(config=model.config)
        tokens = torch.tensor([self.ids], device=model.device)
        model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self.layers: list[tuple[torch.Tensor, torch.Tensor] | None] = [
            None if keys is None else (keys, values) for keys, values, *_ in cache
        ]

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
