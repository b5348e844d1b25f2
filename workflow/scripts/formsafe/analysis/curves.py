"""Loss curves in numbers: when the loss on format and on content tokens has fallen half way, and the area under it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formsafe.analysis.score_table import RUN_COLUMNS, read_csv, records_table, run_of, write_table
from formsafe.config.grid import Run

ADAPTER, SOFT_PROMPT = "adapter", "soft_prompt"
# Kinds of tokens by the column of loss.csv. Content is words of the sentences, mixed tokens cover a word and a mark of
# the format, and interior content has the same tokens in every format, so only its curve compares formats.
PARTS = {"all": "loss"} | {name: f"{name}_loss" for name in ("format", "mixed", "content", "interior")}
TAIL = 0.1  # share of the steps whose mean is the level the loss ends at: a single batch is too noisy


@dataclass(frozen=True)
class Curve:
    """A training's loss on one kind of tokens: steps [n] and loss in nats per token [n], without gaps."""

    run: Run
    stage: str
    part: str
    steps: NDArray[np.float64]
    loss: NDArray[np.float64]

    @property
    def last(self) -> float:
        """The level it ends at: the mean of the last tenth of its steps."""
        return float(self.loss[-max(1, round(TAIL * len(self.loss))) :].mean())

    @property
    def halfway_step(self) -> float:
        """First step at which half of the whole fall is done; NaN where the loss does not fall.

        Read off the falling curve that fits best: a single good batch would pass for half of the fall, and the first
        batch for the level it falls from.
        """
        from scipy.optimize import isotonic_regression  # half a second that drawing and reading curves do not need

        fit = isotonic_regression(self.loss, increasing=False).x
        below = np.flatnonzero(fit <= (fit[0] + self.last) / 2)
        return float(self.steps[below[0]]) if self.last < fit[0] else math.nan

    @property
    def area(self) -> float:
        """Area under the curve, in nats per token times steps."""
        return float(np.trapezoid(self.loss, self.steps))


@dataclass(frozen=True)
class CurveRow:
    """A row of curves.csv: a training's loss on one kind of tokens in numbers (see `Curve`)."""

    model: str
    method: str
    format: str
    lr: str
    seed: str
    data_seed: str
    examples: str
    stage: str
    part: str
    steps: int
    first: float
    last: float
    halfway_step: float
    area: float
    mean: float

    @property
    def run(self) -> Run:
        """The training; a soft prompt's has no method and no rate."""
        return Run(**{name: getattr(self, name) for name in RUN_COLUMNS})


def read_curves(paths: Iterable[str | Path]) -> list[Curve]:
    """Read loss.csv files of adapters and soft prompts; a kind of token that a format does not have gives no curve."""
    found = []
    for path in paths:
        stage = SOFT_PROMPT if "soft_prompts" in Path(path).parts else ADAPTER
        rows = read_csv(path)
        for part, column in PARTS.items():
            points = [(float(row["step"]), float(row[column])) for row in rows if row.get(column)]
            points = [point for point in points if math.isfinite(point[1])]
            if points:
                steps, loss = np.array(points).T
                found.append(Curve(run_of(path), stage, part, steps, loss))
    return found


def write_curves(losses: Sequence[str], output: str) -> None:
    """Write curves.csv: a row per training, stage and kind of token, in the order of `losses`."""
    rows = []
    for curve in read_curves(losses):
        span = float(curve.steps[-1] - curve.steps[0])
        mean = curve.area / span if span else float(curve.loss.mean())
        row: dict[str, Any] = {**curve.run.fields, "stage": curve.stage, "part": curve.part, "steps": len(curve.steps)}
        row |= {"first": float(curve.loss[0]), "last": curve.last, "halfway_step": curve.halfway_step}
        rows.append(CurveRow(**row, area=curve.area, mean=mean))
    write_table(output, records_table(rows, CurveRow))
