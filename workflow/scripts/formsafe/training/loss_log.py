"""The loss told apart into format and content tokens, step by step, and the tables that keep it."""

import csv
import math
from pathlib import Path
from typing import Any

import torch

from formsafe.core.errors import FormsafeError
from formsafe.core.files import replacing

SPLIT = ["loss", "format_loss", "content_loss", "format_tokens", "content_tokens"]
TRAINING_COLUMNS = ["step", "epoch", *SPLIT, "learning_rate", "grad_norm"]
VALIDATION_COLUMNS = ["step", "epoch", *SPLIT]
VALIDATION = "validation_"


class SplitLoss:
    """Sums of token losses by kind, kept on the device in fp64 until they are asked for."""

    def __init__(self) -> None:
        self._sums: list[torch.Tensor] = []

    def add(self, losses: torch.Tensor, kinds: torch.Tensor) -> None:
        """Add the losses `[targets]` of one batch; `kinds` is 1 for format tokens and 0 for content tokens."""
        losses, kinds = losses.detach().double(), kinds.double()
        self._sums.append(torch.stack([losses @ kinds, losses.sum(), kinds.sum(), torch.ones_like(kinds).sum()]))

    def drain(self) -> dict[str, float | int | None]:
        """Mean losses and token counts since the last call; None where a kind has no tokens."""
        format_sum, total, format_tokens, tokens = torch.stack(self._sums).sum(0).tolist()
        self._sums.clear()
        content_tokens = tokens - format_tokens
        return {
            "loss": total / tokens,
            "format_loss": format_sum / format_tokens if format_tokens else None,
            "content_loss": (total - format_sum) / content_tokens if content_tokens else None,
            "format_tokens": int(format_tokens),
            "content_tokens": int(content_tokens),
        }


def check_finite(name: str, value: float, step: int) -> None:
    """Raise FormsafeError when the training is lost: its loss, or the sum of its weights, is not a finite number."""
    if not math.isfinite(value):
        raise FormsafeError(
            f"The {name} became {value} at step {step}. Lower the learning rate, or train in bfloat16 or float32 "
            "(models.<name>.dtype) if it is float16."
        )


def write_tables(history: list[dict[str, Any]], training: str | Path, validation: str | Path) -> None:
    """Write loss.csv and validation.csv from the Trainer's log history."""
    rows = [record for record in history if "format_loss" in record]
    _write(training, TRAINING_COLUMNS, rows)
    prefixed = [record for record in history if f"{VALIDATION}loss" in record]
    rows = [
        {column: record.get(f"{VALIDATION}{column}", record.get(column)) for column in VALIDATION_COLUMNS}
        for record in prefixed
    ]
    _write(validation, VALIDATION_COLUMNS, rows)


def _write(path: str | Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
