"""Examples become batches: one after another without padding, or padded for models that know no other way."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from formsafe.training.examples import Example


@dataclass(frozen=True)
class Collator:
    """Build a batch with room for a soft prompt before every example.

    Example: two exchanges with prompts `a b` and `f` and responses `c d` and `g`, one virtual token (`0`). Logits are
    computed at `keep`, each of which predicts the token of `labels` in the same place.

        flat:   input_ids  [[0 a b c d 0 f g]]        keep  [2 3 6]   labels  [c d g]   virtual  [0 5]
        padded: input_ids  [[0 a b c d] [0 f g 0 0]]  keep  [2 3 6]   labels  [c d g]   virtual  [0 5]

    Args:
        flat: one row of all examples, `[1, tokens]`, without padding; else `[examples, longest]`, padded on the right.
        virtual_tokens: length of the soft prompt; its places hold id 0 until embeddings are put there.
    """

    flat: bool
    virtual_tokens: int = 0

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Collate.

        Returns:
            model: what the model takes besides embeddings.
            input_ids: `[1, tokens]` or `[examples, longest]`.
            virtual: places of the soft prompt in the flattened `input_ids`, `[examples x virtual_tokens]`.
            keep: places, likewise, whose next token is learned, `[targets]`.
            labels: the tokens to learn, `[targets]`; `kinds`: their kinds (`token_kinds`).
            depths: place of each learned token within its response, from 0, `[targets]`.
            tokens: number of tokens of prompts and responses.
            shift_labels: `labels` again, under the name by which transformers counts them.
        """
        lengths = [self.virtual_tokens + len(example.ids) for example in examples]
        width = max(lengths)
        starts = [0, *accumulate(lengths)][:-1] if self.flat else [row * width for row in range(len(examples))]
        ids = torch.zeros(sum(lengths) if self.flat else width * len(examples), dtype=torch.long)
        keep = []
        for start, example in zip(starts, examples, strict=True):
            begin = start + self.virtual_tokens
            ids[begin : begin + len(example.ids)] = torch.tensor(example.ids)
            keep.append(torch.arange(begin + example.prompt_length - 1, begin + len(example.ids) - 1))
        labels = torch.tensor([token for example in examples for token in example.ids[example.prompt_length :]])
        return {
            "model": self._flat(lengths) if self.flat else self._padded(lengths, width),
            "input_ids": ids.view(1, -1) if self.flat else ids.view(len(examples), width),
            "virtual": torch.cat([torch.arange(start, start + self.virtual_tokens) for start in starts]),
            "keep": torch.cat(keep),
            "kinds": torch.tensor([kind for example in examples for kind in example.kinds]),
            "depths": torch.cat([torch.arange(len(example.kinds)) for example in examples]),
            "labels": labels,
            "shift_labels": labels,
            "tokens": sum(len(example.ids) for example in examples),
        }

    def _flat(self, lengths: list[int]) -> dict[str, Any]:
        bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        return {
            "position_ids": torch.cat([torch.arange(length) for length in lengths]).view(1, -1),
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
            "lengths": tuple(lengths),
        }

    def _padded(self, lengths: list[int], width: int) -> dict[str, Any]:
        mask = torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]
        return {"attention_mask": mask.long()}
