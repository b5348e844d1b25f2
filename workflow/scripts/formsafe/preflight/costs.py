"""What the stages cost at the least: arithmetic and bytes from the model's shape, over what a GPU can do at most.

A floor is no forecast: real runs take longer. It leaves out attention scores, start-up, Python and whatever else is
small for models of billions of parameters and texts of hundreds of tokens.
"""

import re
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


# Dense bf16 rates and memory bandwidths of the makers' data sheets; a pattern is searched in the name CUDA gives.
DATA_SHEETS = tuple(
    (re.compile(pattern), Rates(name, 1e12 * tera_operations, 1e9 * giga_bytes))
    for pattern, name, tera_operations, giga_bytes in (
        (r"\bGB300\b", "GB300", 2500, 8000),
        (r"\bB300\b", "B300", 2250, 8000),
        (r"\bGB200\b", "GB200", 2500, 8000),
        (r"\bB200\b", "B200", 2250, 8000),
        (r"\bGH200\b", "GH200", 989, 4900),
        (r"\bH200\b", "H200", 989, 4800),
        (r"\bH100 PCIe\b", "H100 PCIe", 756, 2000),
        (r"\bH100 NVL\b", "H100 NVL", 835, 3900),
        (r"\bH100\b", "H100", 989, 3350),
        (r"\bA100.*40GB\b", "A100 40 GB", 312, 1555),
        (r"\bA100\b", "A100 80 GB", 312, 2039),
        (r"\bL40S\b", "L40S", 362, 864),
        (r"\bL40\b", "L40", 181, 864),
        (r"\bRTX 6000 Ada\b", "RTX 6000 Ada", 364, 960),
        (r"\bRTX A6000\b", "RTX A6000", 155, 768),
        (r"\bA40\b", "A40", 150, 696),
        (r"\bA10G?\b", "A10", 125, 600),
        (r"\bL4\b", "L4", 121, 300),
        (r"\bRTX 5090\b", "RTX 5090", 210, 1792),
        (r"\bRTX 4090\b", "RTX 4090", 165, 1008),
        (r"\bRTX 3090\b", "RTX 3090", 71, 936),
    )
)


def rates_of(device: str) -> Rates | None:
    """The data-sheet rates of a GPU by the name CUDA gives it; None for one that is not listed, or a slice of one."""
    if re.search(r"\bMIG\b", device):
        return None
    return next((rates for pattern, rates in DATA_SHEETS if pattern.search(device)), None)


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
