"""Answers of models that keep no keys and values, by `generate` of transformers, one prompt at a time.

Mamba, Falcon-Mamba, RWKV, xLSTM and the like hold a recurrent state under a name of their own, which the decoding loop
cannot pad, start from a prefix, or compact.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from formsafe.config.settings.generation import Decoding
from formsafe.core.errors import FormsafeError
from formsafe.generation.sampling import Generated


def keeps_keys(model: PreTrainedModel) -> bool:
    """Whether the decoding loop can serve the model: its forward pass takes a cache of keys and values."""
    return "past_key_values" in inspect.signature(model.forward).parameters


def generate_one_by_one(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], decoding: Decoding, stop_ids: Sequence[int]
) -> list[Generated]:
    """Answer token rows greedily.

    Raises:
        FormsafeError: when a temperature is set.
    """
    if decoding.temperature > 0:
        raise FormsafeError(
            f"Models of the type {model.config.model_type} answer greedily only: set temperature to 0, or answer "
            "through a server."
        )
    generator: Any = model  # the stubs of transformers take its methods for tensors
    # `generate` would take penalties and suppressed tokens from the model's own configuration, which the loop does not.
    generator.generation_config = GenerationConfig(eos_token_id=list(stop_ids))
    settings = {"max_new_tokens": decoding.max_new_tokens, "do_sample": False, "pad_token_id": 0}
    results = []
    for row in rows:
        ids = torch.tensor([list(row)], device=model.device)
        output = generator.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
        written = output[0, len(row) :].tolist()
        stopped = bool(written) and written[-1] in stop_ids
        results.append(Generated(written[:-1] if stopped else written, stopped))
    return results
