"""What the stages cost at the least: arithmetic and bytes from the model's shape, over a device's measured rates.

A floor is no forecast: real runs take longer. It leaves out attention scores, start-up, Python and whatever else is
small for models of billions of parameters and texts of hundreds of tokens.
"""

from dataclasses import dataclass

from formsafe.models.memory import Quantisation, weight_bytes
from formsafe.models.shapes import ModelShape


@dataclass(frozen=True)
class Rates:
    """What a device does at most: operations of bf16 matrix products, and bytes of its memory, a second."""

    name: str
    operations: float
    bytes: float

    def seconds(self, operations: float, bytes: float) -> float:
        """Time that work takes at the least: arithmetic and transfers overlap."""
        return max(operations / self.operations, bytes / self.bytes)


def training_operations(
    shape: ModelShape, tokens: float, targets: float, *, checkpointing: bool = False, lora_rank: int = 16
) -> float:
    """Operations of QLoRA training on `tokens` tokens of which `targets` are learned.

    Forward, backward to the activations (the base weights get no gradient), forward again where activations are not
    kept; the adapter's own weights forward and backward; the output layer only where a token is learned.
    """
    passes = 3 if checkpointing else 2
    layers = 2 * passes * shape.linear_parameters * tokens
    adapter = 6 * shape.lora_parameters(lora_rank) * tokens
    return layers + adapter + 4 * shape.vocabulary * shape.hidden * targets


def reading_operations(shape: ModelShape, tokens: float) -> float:
    """Operations of computing the cache of `tokens` tokens of prompts."""
    return 2 * shape.linear_parameters * tokens


def answering_seconds(
    shape: ModelShape,
    rates: Rates,
    *,
    prompts: int,
    prompt_tokens: float,
    new_tokens: float,
    token_budget: int,
    quantisation: Quantisation = "none",
    prefix_tokens: int = 0,
) -> float:
    """Floor of answering `prompts` prompts in batches under a token budget.

    Args:
        shape: the model's.
        rates: the device's.
        prompts: number of prompts.
        prompt_tokens: mean tokens of a prompt, the prefix included.
        new_tokens: mean tokens of an answer.
        token_budget: tokens in memory at once: a step reads the weights once for all rows of a batch.
        quantisation: of the weights.
        prefix_tokens: tokens that all prompts share and that are computed once.
    """
    rows = max(1, int(token_budget // (prompt_tokens + new_tokens)))
    steps = -(-prompts // rows) * new_tokens
    reading = rates.seconds(reading_operations(shape, prefix_tokens + prompts * (prompt_tokens - prefix_tokens)), 0)
    operations = 2 * (shape.linear_parameters + shape.vocabulary * shape.hidden) * prompts * new_tokens
    cache = prompts * new_tokens * (prompt_tokens + new_tokens / 2) * shape.cache_bytes
    return reading + rates.seconds(operations, steps * weight_bytes(shape, quantisation) + cache)
