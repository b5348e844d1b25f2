"""What fits: micro-batches, gradient checkpointing, quantisation and token budgets from the memory of the card.

The memory model counts bytes from the shape of the model:

- weights: 2 per parameter in bf16; in NF4 with double quantisation 0.516 per parameter of the layers' matrices, while
  embeddings and output layer stay in bf16;
- adapter: fp32 weight, gradient and two moments, and a temporary: 20 per parameter;
- activations kept for the backward pass, per token and layer (bf16, autocast, frozen base weights): both norms keep
  their fp32 input, attention its queries, keys, values and output, the feed-forward layer its two halves and their
  product, and each adapter a bf16 copy and a dropout mask of its input. With checkpointing only the layer's input,
  and the rest for one layer at a time;
- logits, only where a token is learned: bf16, fp32, log-probabilities and their gradients, 14 per vocabulary entry;
- cache: keys and values of every token in every layer. A growing cache is read whole, so for a moment one layer's exist
  twice, repeated for all heads, and while a batch of prompts is read, one layer's activations exist as well. Static
  buffers are filled piece by piece, which takes the same for a piece only, and hold a shared prefix once; their rows
  have whole tiles of columns, and logits that count as further tokens;
- one GB for CUDA and its libraries, and two matrices dequantised.

It is an estimate to plan by; a share of the card stays free for what it does not count (fragmentation).
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal

from formsafe.models.context import ModelContext
from formsafe.models.shapes import ModelShape

Quantisation = Literal["nf4", "none"]

USABLE = 0.9
FIXED_BYTES = 1e9
BYTES_BF16 = 2.0
# 4 bits, an 8-bit scale for 64 weights, a 32-bit scale for 256 of those.
BYTES_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
BYTES_TRAINED = 20.0
BYTES_LOGIT = 14.0
# While a batch is decoded, at most this share of its tokens are prompts that were read at once.
PROMPT_SHARE = 0.5
# With static buffers prompts are read in pieces of at most so many tokens, which attend to at most so many columns:
# enough to keep a GPU busy.
READ_TOKENS, READ_COLUMNS = 8192, 32768
# Answers in 16 bits where this many tokens fit beside the weights (eight judgements of 2,048 tokens), else in NF4.
UNQUANTISED_TOKENS = 16384
# A step of decoding costs much the same for few rows as for many, so a budget has no cap but one beyond any study.
MOST_TOKENS, FEWEST_TOKENS = 1 << 20, 1024
SMALL_PARAMETERS, CPU_TOKENS_SMALL, CPU_TOKENS_LARGE = 1e8, 32768, 4096
# The choice between 16 bits and NF4 is made for an adapter of this rank, whatever rank the run has or none.
USUAL_RANK = 16
# Arithmetic operations in the time of one byte moved, on current data-centre GPUs; and bytes moved to dequantise one
# weight for one pass (read 0.5, write 2, read 2).
OPERATIONS_PER_BYTE, BYTES_DEQUANTISED = 200.0, 4.5
# The words of PyTorch (GPU and CPU), CUDA and its libraries for a lack of memory.
_LACK = ("out of memory", "can't allocate memory", "alloc_failed")


# Bytes per row and vocabulary entry: logits in 16 bits, in the captured step and twice while prompts are read; sampling
# holds them in fp32 as probabilities, sorted (with their places, and room to sort in), summed and cut.
BYTES_GREEDY, BYTES_SAMPLED = 6, 48


@dataclass(frozen=True)
class TrainingBatch:
    """What a training holds in memory at most.

    Attributes:
        size: examples of a batch (`batch_size`).
        accumulation: batches of an optimiser step.
        longest: tokens of the longest example: prompt, response and soft prompt.
        lora_rank: rank of the adapter; 0 for none.
        mean: tokens of an example on average where batches have no padding; None where they are padded.
        deviation: standard deviation of the examples' tokens, likewise.
    """

    size: int = 16
    accumulation: int = 1
    longest: int = 512
    lora_rank: int = 16
    mean: float | None = None
    deviation: float = 0.0

    def tokens(self, examples: int) -> float:
        """The most tokens of a micro-batch.

        Without padding these are the longest example, others of the usual length, and five deviations of their sum,
        since real lengths have long tails. Counted as padded, a batch of the paper's data would seem twice as large.
        """
        mean = self.longest if self.mean is None else self.mean
        others = examples - 1
        return min(examples * self.longest, self.longest + others * mean + 5 * self.deviation * math.sqrt(others))


@dataclass(frozen=True)
class TrainingPlan:
    """How a training fits: examples in memory at once, and whether activations are computed again."""

    micro_batch_size: int
    gradient_checkpointing: bool


@dataclass(frozen=True)
class InferencePlan:
    """How answering fits: the weights' quantisation, and tokens in memory at once (padding and answers included)."""

    quantisation: Quantisation
    token_budget: int


def plan_training(context: ModelContext, batch: TrainingBatch) -> TrainingPlan:
    """The cheapest micro-batch and checkpointing that fit; where nothing fits, the smallest.

    The micro-batch divides the optimiser step, so that the effective batch stays what the settings say. On a GPU it may
    be the whole step: small kernels cost the same time for twice the examples.
    """
    if context.device == "cpu":
        # A small model on a CPU is bound by Python, so whole batches; a large one by memory and caches.
        small = context.settings.parameters < SMALL_PARAMETERS
        limit = batch.size if small else CPU_TOKENS_LARGE / batch.longest
        return TrainingPlan(max(_divisors(batch.size, limit)), False)
    step, choices = batch.size * batch.accumulation, []
    for micro, checkpointing in product(_divisors(step, step), (False, True)):
        tokens = batch.tokens(micro)
        if training_bytes(context, tokens, checkpointing, batch.lora_rank) <= _usable(context):
            choices.append((_cost(tokens, checkpointing, context.settings.quantisation), micro, checkpointing))
    _, micro, checkpointing = min(choices, default=(0.0, 1, True))
    return TrainingPlan(micro, checkpointing)


def plan_inference(context: ModelContext, lora_rank: int) -> InferencePlan:
    """Quantisation and token budget of answering and judging with an adapter of this rank (0: none)."""
    quantisation = context.settings.inference_quantisation
    if context.device == "cpu":
        small = context.settings.parameters < SMALL_PARAMETERS
        tokens = CPU_TOKENS_SMALL if small else CPU_TOKENS_LARGE
        return InferencePlan("none" if quantisation == "auto" else quantisation, tokens)
    if quantisation == "auto":
        # An adapter or none must not decide: a run and its base model are compared in the same precision.
        fitting = _token_limit(context, "none", USUAL_RANK)
        quantisation = "none" if fitting >= UNQUANTISED_TOKENS else "nf4"
    budget = _token_limit(context, quantisation, lora_rank)
    return InferencePlan(quantisation, max(FEWEST_TOKENS, min(budget, MOST_TOKENS)))


def training_bytes(context: ModelContext, tokens: float, checkpointing: bool, lora_rank: int) -> float:
    """Bytes that a micro-batch of `tokens` tokens takes where all of them are learned."""
    shape = context.shape
    layer = _kept_bytes(shape)
    kept = BYTES_BF16 * shape.hidden * shape.layers + layer if checkpointing else layer * shape.layers
    logits = BYTES_LOGIT * shape.vocabulary
    trained = BYTES_TRAINED * shape.lora_parameters(lora_rank)
    return _fixed_bytes(shape, context.settings.quantisation) + trained + (kept + logits) * tokens


def inference_bytes(context: ModelContext, plan: InferencePlan, lora_rank: int) -> float:
    """Bytes that answering takes with a full token budget."""
    return _inference_fixed(context, plan.quantisation, lora_rank) + plan.token_budget * _token_bytes(context)


def static_columns(tokens: int) -> int:
    """Columns of static buffers for rows of so many tokens: whole tiles of cuDNN's kernels.

    For other widths some of these are reported not to compile, and rows of the mask begin at odd addresses.
    """
    return math.ceil(tokens / 64) * 64


def static_tokens(shape: ModelShape, tokens: int, sampled: bool) -> int:
    """Tokens of the budget that a row of so many takes in static buffers: with many short answers the logits that are
    counted here are some GB."""
    logits = (BYTES_SAMPLED if sampled else BYTES_GREEDY) * shape.vocabulary
    return static_columns(tokens) + math.ceil(logits / shape.cache_bytes)


def weight_bytes(shape: ModelShape, quantisation: Quantisation) -> float:
    """Bytes of the weights."""
    rest = shape.parameters - shape.linear_parameters
    return BYTES_BF16 * rest + (BYTES_NF4 if quantisation == "nf4" else BYTES_BF16) * shape.linear_parameters


def is_lacking(error: BaseException | str) -> bool:
    """Whether an error says that memory ran out; cuBLAS and the driver allocate, and fail, on their own."""
    said = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or any(words in said for words in _LACK)


def _usable(context: ModelContext) -> float:
    return USABLE * 1e9 * context.gpu_memory_gb


def _fixed_bytes(shape: ModelShape, quantisation: Quantisation) -> float:
    """Bytes that do not depend on the batch, without the adapter."""
    dequantised = 2 * BYTES_BF16 * shape.hidden * shape.intermediate
    return FIXED_BYTES + weight_bytes(shape, quantisation) + dequantised


def _kept_bytes(shape: ModelShape) -> float:
    """Bytes that the backward pass keeps of one token in one layer."""
    query, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    norms = 2 * 4 * shape.hidden
    attention = 2 * (2 * query + 2 * keys) + 2 * query
    feed_forward = 2 * 3 * shape.intermediate
    adapters = 3 * sum(inputs for inputs, _ in shape.linear_widths)
    return norms + attention + feed_forward + adapters


def _inference_fixed(context: ModelContext, quantisation: Quantisation, lora_rank: int) -> float:
    """Bytes that answering takes whatever the token budget; static buffers are filled from pieces of a fixed size."""
    shape = context.shape
    fixed = _fixed_bytes(shape, quantisation) + 2 * BYTES_BF16 * shape.lora_parameters(lora_rank)
    if not context.decodes_statically:
        return fixed
    attended = 2 * BYTES_BF16 * (shape.heads + shape.kv_heads) * shape.head_width
    return fixed + READ_TOKENS * _reading_bytes(shape) + READ_COLUMNS * attended


def _token_bytes(context: ModelContext) -> float:
    """Bytes per token of the budget while answering."""
    shape = context.shape
    if context.decodes_statically:
        return shape.cache_bytes
    repeated = 2 * BYTES_BF16 * shape.heads * shape.head_width
    return shape.cache_bytes + repeated + PROMPT_SHARE * _reading_bytes(shape)


def _reading_bytes(shape: ModelShape) -> float:
    """Bytes of one layer's activations per prompt token."""
    return BYTES_BF16 * (4 * shape.hidden + 3 * shape.intermediate)


def _token_limit(context: ModelContext, quantisation: Quantisation, lora_rank: int) -> int:
    """The most tokens at once that fit; 0 where the weights alone are too much."""
    free = _usable(context) - _inference_fixed(context, quantisation, lora_rank)
    return max(0, int(free / _token_bytes(context)))


def _cost(tokens: float, checkpointing: bool, quantisation: Quantisation) -> float:
    """Relative time per token: passes over the weights (forward, backward to the inputs, forward again), and reading or
    dequantising the weights once per pass and micro-batch."""
    passes = 3 if checkpointing else 2
    moved = BYTES_DEQUANTISED if quantisation == "nf4" else BYTES_BF16
    return passes * (2 + moved * OPERATIONS_PER_BYTE / tokens)


def _divisors(batch_size: int, limit: float) -> list[int]:
    """Divisors of `batch_size` that are at most `limit`, at least 1."""
    return [size for size in range(1, batch_size + 1) if batch_size % size == 0 and (size <= limit or size == 1)]
