"""What a measured stage needs beside itself: answers of set lengths, memory peaks."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from scale_models import ORDINARY_ID, STOP_ID

from formsafe.generation import local_engine as generation_module
from formsafe.generation.sampling import Sampler


@dataclass(frozen=True)
class Scale:
    """How much is measured: enough for steady figures, and no more, since a GPU costs money."""

    examples: int = 320
    validation: int = 75
    epochs: float = 2.0
    prompts: int = 1320
    tasks: int = 100
    judged: int = 528
    answer_limit: int = 512
    judge_reply: int = 200
    judge_limit: int = 512
    judge_prefix: int = 1100
    one_by_one: int = 4
    by_eight: int = 16


FULL = Scale()
TINY = Scale(32, 8, 1.0, 24, 8, 24, 32, 8, 16, 256, 4, 8)


@contextmanager
def forced(length: Callable[[list[int], int], int]) -> Iterator[None]:
    """Make the library's sampler end every answer at its length, and not before."""

    class Forced(Sampler):
        def __init__(self, decoding: Any, prompts: Any, device: Any) -> None:
            super().__init__(decoding, prompts, device)
            ends = [length(list(row), decoding.max_new_tokens) for row in prompts]
            self.ends = torch.tensor(ends, device=device)

        def choose(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
            chosen = super().choose(logits, rows, step)
            chosen = torch.where(chosen == STOP_ID, ORDINARY_ID, chosen)
            return torch.where(self.ends[rows] <= step, STOP_ID, chosen)

    with patch("formsafe.generation.local_engine.Sampler", Forced):
        yield


@contextmanager
def sharing(share: bool) -> Iterator[None]:
    """Switch the shared prefix of the library's engine off, or leave it on."""
    with patch.object(generation_module, "SHORTEST_PREFIX", generation_module.SHORTEST_PREFIX if share else 10**9):
        yield


def fresh_memory() -> None:
    """Forget the last stage, so that peaks are each stage's own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def limit_memory(gigabytes: int | str) -> None:
    """Let PyTorch have no more of the GPU than a card of this size gives, beside what CUDA takes for itself."""
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        share = (gigabytes - 0.6) * 1e9 / total if isinstance(gigabytes, int) else 1.0
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))


def peak_memory() -> float | None:
    """Peak GPU memory in GB since the stage began."""
    return gigabytes(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def gigabytes(count: int | None) -> float | None:
    """Bytes as GB."""
    return None if count is None else round(count / 1e9, 2)
