"""The loss by kind of token, step by step, and the tables that keep it."""

import csv
import math
from pathlib import Path
from typing import Any

import torch

from formsafe.core.errors import FormsafeError
from formsafe.core.files import replacing
from formsafe.training.token_kinds import CONTENT, FORMAT, INTERIOR, KINDS, MIXED

# Content includes interior content; the token counts of format, mixed and content sum up to all learned tokens.
PARTS = {"format": [FORMAT], "mixed": [MIXED], "content": [CONTENT, INTERIOR], "interior": [INTERIOR]}
SPLIT = ["loss", *(f"{part}_loss" for part in PARTS), *(f"{part}_tokens" for part in PARTS)]
TRAINING_COLUMNS = ["step", "epoch", *SPLIT, "learning_rate", "grad_norm"]
VALIDATION_COLUMNS = ["step", "epoch", *SPLIT]
VALIDATION = "validation_"


class SplitLoss:
    """Sums of token losses by kind, kept on the device in fp64 until they are asked for."""

    def __init__(self) -> None:
        self._sums: list[torch.Tensor] = []

    def add(self, losses: torch.Tensor, kinds: torch.Tensor) -> None:
        """Add the losses `[targets]` of one batch, whose tokens have `kinds` `[targets]` (`token_kinds`)."""
        each = torch.nn.functional.one_hot(kinds, KINDS).double()
        self._sums.append(torch.stack([losses.detach().double() @ each, each.sum(0)]))

    def drain(self) -> dict[str, float | int | None]:
        """Mean losses in nats and token counts since the last call; None where a kind has no tokens."""
        losses, tokens = torch.stack(self._sums).sum(0).tolist()
        self._sums.clear()
        figures: dict[str, float | int | None] = {"loss": sum(losses) / sum(tokens)}
        for part, kinds in PARTS.items():
            count = sum(tokens[kind] for kind in kinds)
            figures[f"{part}_loss"] = sum(losses[kind] for kind in kinds) / count if count else None
            figures[f"{part}_tokens"] = int(count)
        return figures


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
    rows = []
    for record in history:
        if f"{VALIDATION}loss" in record:
            rows.append({name: record.get(f"{VALIDATION}{name}", record.get(name)) for name in VALIDATION_COLUMNS})
    _write(validation, VALIDATION_COLUMNS, rows)


def _write(path: str | Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
