"""What fits: micro-batches, gradient checkpointing, quantisation and token budgets from the memory at hand.

The memory model counts bytes from the shape of the model:

- weights: 2 a parameter in bf16; in NF4 with double quantisation 0.516 a parameter of the layers' matrices, while
  embeddings and output layer stay in bf16;
- adapter: fp32 weight, gradient and two moments, and a temporary: 20 a parameter;
- activations kept for the backward pass, a token and layer (bf16, autocast, frozen base weights): both norms keep
  their fp32 input, attention its queries, keys, values and output, the feed-forward layer its two halves and their
  product, and each adapter a bf16 copy and a dropout mask of its input. With checkpointing only the layer's input,
  and one layer at a time the rest;
- logits, only where a token is learned: bf16, fp32, log-probabilities and their gradients, 14 a vocabulary entry;
- cache: keys and values of every token in every layer; for a moment one layer's are there again, for all heads, and
  while a batch of prompts is read, one layer's activations are there as well;
- one GB for CUDA and its libraries, and two matrices dequantised.

It is an estimate to plan by; a share of the card stays free for what it does not count (fragmentation).
"""

from dataclasses import dataclass
from typing import Literal

from formsafe.models.shapes import ModelShape, of_size

Device = Literal["cpu", "cuda"]
Quantisation = Literal["nf4", "none"]

USABLE = 0.9
FIXED_BYTES = 1e9
BYTES_BF16 = 2.0
# 4 bits, an 8-bit scale every 64 weights, a 32-bit scale every 256 of those.
BYTES_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
BYTES_TRAINED = 20.0
BYTES_LOGIT = 14.0
# While a batch is decoded, at most this share of its tokens are prompts that were read at once.
PROMPT_SHARE = 0.5
# Answers in 16 bits where this many tokens fit beside the weights (eight judgements of 2,048 tokens), else in NF4.
UNQUANTISED_TOKENS = 16384
# A step of decoding costs much the same for few rows as for many, so a budget has no cap but one beyond any study.
MOST_TOKENS, FEWEST_TOKENS = 1 << 20, 1024
CPU_TOKENS_SMALL, CPU_TOKENS_LARGE = 32768, 4096
# Arithmetic operations in the time of one byte moved, on current data-centre GPUs; and bytes moved to dequantise one
# weight for one pass (read 0.5, write 2, read 2).
OPERATIONS_PER_BYTE, BYTES_DEQUANTISED = 200.0, 4.5
# How PyTorch (GPU and CPU), CUDA and its libraries put it.
_LACK = ("out of memory", "can't allocate memory", "alloc_failed")


@dataclass(frozen=True)
class MemoryPlan:
    """How to fit: `micro_batch_size` examples in training, `token_budget` tokens (padding included) in generation."""

    micro_batch_size: int
    gradient_checkpointing: bool
    inference_quantisation: Quantisation
    token_budget: int


def plan(
    gpu_memory_gb: int | Literal["auto"],
    parameters: float,
    *,
    device: Device = "cuda",
    batch_size: int = 16,
    tokens_per_example: int = 512,
    shape: ModelShape | None = None,
    quantisation: Quantisation = "nf4",
    inference_quantisation: Quantisation | Literal["auto"] = "auto",
    lora_rank: int = 16,
) -> MemoryPlan:
    """Plan one job's memory.

    Args:
        gpu_memory_gb: memory to stay within; `auto` asks the GPU.
        parameters: number of parameters of the model.
        device: where the job runs; a CPU has its own plan, whatever `gpu_memory_gb` says.
        batch_size: examples a batch; the micro-batch divides it, so that the effective batch stays what it is.
        tokens_per_example: tokens of the longest example, prompt, response and soft prompt.
        shape: the model's shape; without it, one is taken from the number of parameters.
        quantisation: of the weights in training.
        inference_quantisation: of the weights while answering; `auto` chooses.
        lora_rank: rank of the adapter.
    """
    if device == "cpu":
        small = parameters < 1e8
        tokens = CPU_TOKENS_SMALL if small else CPU_TOKENS_LARGE
        micro = batch_size if small else max(_divisors(batch_size, tokens / tokens_per_example))
        return MemoryPlan(micro, False, "none" if inference_quantisation == "auto" else inference_quantisation, tokens)
    shape = shape or of_size(parameters)
    room = USABLE * 1e9 * (gpu_memory_in_gb() if gpu_memory_gb == "auto" else gpu_memory_gb)
    micro, checkpointing = _training(shape, room, batch_size, tokens_per_example, quantisation, lora_rank)
    if inference_quantisation == "auto":
        fitting = token_limit(shape, room, "none", lora_rank)
        inference_quantisation = "none" if fitting >= UNQUANTISED_TOKENS else "nf4"
    budget = token_limit(shape, room, inference_quantisation, lora_rank)
    return MemoryPlan(micro, checkpointing, inference_quantisation, max(FEWEST_TOKENS, min(budget, MOST_TOKENS)))


def training_bytes(
    shape: ModelShape,
    tokens: int,
    *,
    checkpointing: bool,
    quantisation: Quantisation = "nf4",
    lora_rank: int = 16,
) -> float:
    """Bytes that a micro-batch of `tokens` tokens takes where all of them are learned."""
    dequantised = 2 * BYTES_BF16 * shape.hidden * shape.intermediate
    layer = _kept_bytes(shape)
    kept = BYTES_BF16 * shape.hidden * shape.layers + layer if checkpointing else layer * shape.layers
    logits = BYTES_LOGIT * shape.vocabulary * tokens
    trained = BYTES_TRAINED * shape.lora_parameters(lora_rank)
    return FIXED_BYTES + weight_bytes(shape, quantisation) + dequantised + trained + kept * tokens + logits


def inference_bytes(shape: ModelShape, tokens: int, *, quantisation: Quantisation, lora_rank: int = 16) -> float:
    """Bytes that answering takes with `tokens` tokens of prompts and answers in memory at once."""
    fixed, token = _inference_parts(shape, quantisation, lora_rank)
    return fixed + token * tokens


def token_limit(shape: ModelShape, room: float, quantisation: Quantisation, lora_rank: int = 16) -> int:
    """The most tokens at once that answering holds within `room` bytes; 0 where the weights alone are too much."""
    fixed, token = _inference_parts(shape, quantisation, lora_rank)
    return max(0, int((room - fixed) / token))


def weight_bytes(shape: ModelShape, quantisation: Quantisation) -> float:
    """Bytes of the weights."""
    rest = shape.parameters - shape.linear_parameters
    return BYTES_BF16 * rest + (BYTES_NF4 if quantisation == "nf4" else BYTES_BF16) * shape.linear_parameters


def is_lacking(error: BaseException | str) -> bool:
    """Whether an error says that memory ran out; cuBLAS and the driver allocate, and fail, on their own."""
    said = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or any(words in said for words in _LACK)


def gpu_memory_in_gb() -> float:
    """Memory of the first visible GPU in GB (1e9 bytes)."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / 1e9


def _kept_bytes(shape: ModelShape) -> float:
    """Bytes that the backward pass keeps of one token in one layer."""
    query, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    norms = 2 * 4 * shape.hidden
    attention = 2 * (2 * query + 2 * keys) + 2 * query
    feed_forward = 2 * 3 * shape.intermediate
    adapters = 3 * sum(inputs for inputs, _ in shape.linear_widths)
    return norms + attention + feed_forward + adapters


def _inference_parts(shape: ModelShape, quantisation: Quantisation, lora_rank: int) -> tuple[float, float]:
    """Bytes whatever the batch, and bytes a token."""
    dequantised = 2 * BYTES_BF16 * shape.hidden * shape.intermediate
    fixed = FIXED_BYTES + weight_bytes(shape, quantisation) + dequantised + 4 * shape.lora_parameters(lora_rank)
    repeated = 2 * 2 * shape.heads * shape.head_width
    reading = 2 * (4 * shape.hidden + 3 * shape.intermediate)
    return fixed, shape.cache_bytes + repeated + PROMPT_SHARE * reading


def _training(
    shape: ModelShape, room: float, batch_size: int, tokens: int, quantisation: Quantisation, lora_rank: int
) -> tuple[int, bool]:
    """The cheapest micro-batch and checkpointing that fit; without any, the smallest there is."""
    choices = [
        (_cost(micro * tokens, checkpointing, quantisation), micro, checkpointing)
        for micro in _divisors(batch_size, batch_size)
        for checkpointing in (False, True)
        if training_bytes(
            shape, micro * tokens, checkpointing=checkpointing, quantisation=quantisation, lora_rank=lora_rank
        )
        <= room
    ]
    _, micro, checkpointing = min(choices, default=(0.0, 1, True))
    return micro, checkpointing


def _cost(tokens: int, checkpointing: bool, quantisation: Quantisation) -> float:
    """Relative time a token: passes over the weights (forward, backward to the inputs, forward again), and reading or
    dequantising the weights once a pass and micro-batch."""
    passes = 3 if checkpointing else 2
    moved = BYTES_DEQUANTISED if quantisation == "nf4" else BYTES_BF16
    return passes * (2 + moved * OPERATIONS_PER_BYTE / tokens)


def _divisors(batch_size: int, limit: float) -> list[int]:
    """Divisors of `batch_size` that are at most `limit`, at least 1."""
    return [size for size in range(1, batch_size + 1) if batch_size % size == 0 and (size <= limit or size == 1)]
