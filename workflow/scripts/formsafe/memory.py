"""What fits: micro-batches, gradient checkpointing, quantisation and token budgets from the memory at hand."""

from dataclasses import dataclass
from typing import Literal

Device = Literal["cpu", "cuda"]

# Shares of a GPU that training may fill, and bytes a parameter takes.
USABLE = 0.9
BYTES_NF4, BYTES_BF16 = 0.6, 2.0
# Activations kept for the backward pass of one token, in multiples of sqrt(parameters x layers-by-width) below:
# measured by hand on Llama shapes; a plan errs on the side of memory.
_KEPT_PER_TOKEN, _CHECKPOINTED_PER_TOKEN = 1.2e-3, 2.5e-4
_CACHE_PER_TOKEN = 2.0e-5
CPU_TOKENS_SMALL, CPU_TOKENS_LARGE = 32768, 4096


@dataclass(frozen=True)
class MemoryPlan:
    """How to fit: `micro_batch_size` examples in training, `token_budget` tokens (padding included) in generation."""

    micro_batch_size: int
    gradient_checkpointing: bool
    inference_quantisation: Literal["nf4", "none"]
    token_budget: int


def plan(
    gpu_memory_gb: int | Literal["auto"],
    parameters: float,
    *,
    device: Device = "cuda",
    batch_size: int = 16,
    tokens_per_example: int = 512,
) -> MemoryPlan:
    """Plan one job's memory.

    Args:
        gpu_memory_gb: memory to stay within; `auto` asks the GPU.
        parameters: number of parameters of the model.
        device: where the job runs; a CPU has its own plan, whatever `gpu_memory_gb` says.
        batch_size: examples a batch; the micro-batch divides it.
        tokens_per_example: tokens of a long example, prompt and response.
    """
    if device == "cpu":
        small = parameters < 1e8
        tokens = CPU_TOKENS_SMALL if small else CPU_TOKENS_LARGE
        micro = batch_size if small else _divisor(batch_size, tokens / tokens_per_example)
        return MemoryPlan(micro, False, "none", tokens)
    memory = USABLE * (_gpu_memory_gb() if gpu_memory_gb == "auto" else gpu_memory_gb) * 1e9
    tokens_kept = (memory - BYTES_NF4 * parameters) / (_KEPT_PER_TOKEN * parameters)
    checkpointing = tokens_kept < batch_size * tokens_per_example
    if checkpointing:
        tokens_kept = (memory - BYTES_NF4 * parameters) / (_CHECKPOINTED_PER_TOKEN * parameters)
    unquantised = memory - BYTES_BF16 * parameters > 0.2 * memory
    weights = (BYTES_BF16 if unquantised else BYTES_NF4) * parameters
    budget = max(1024, int(0.8 * (memory - weights) / (_CACHE_PER_TOKEN * parameters)))
    return MemoryPlan(
        _divisor(batch_size, tokens_kept / tokens_per_example),
        checkpointing,
        "none" if unquantised else "nf4",
        min(budget, 1 << 18),
    )


def _divisor(batch_size: int, limit: float) -> int:
    """The largest divisor of `batch_size` that is at most `limit`, at least 1."""
    return max(size for size in range(1, batch_size + 1) if batch_size % size == 0 and (size <= limit or size == 1))


def _gpu_memory_gb() -> float:
    import torch

    return torch.cuda.get_device_properties(0).total_memory / 1e9
