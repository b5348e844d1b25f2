"""Loss curves in numbers: when the loss on format and on content tokens has fallen half way, and the area under it.

And formality as measured: the tokens and bits per sentence that a format's marks cost the base model.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from formsafe.analysis.score_table import records_table, run_of, write_table
from formsafe.config.grid import Run
from formsafe.core.files import read_json
from formsafe.core.layout import stage_of
from formsafe.formats.registry import plain_format, traits_of

ADAPTER, SOFT_PROMPT = "adapter", "soft_prompt"
# Kinds of tokens by the column of loss.csv. Content is words of the sentences, mixed tokens cover a word and a mark of
# the format, and interior content has the same tokens in every format, so only its curve compares formats.
PARTS = {"all": "loss"} | {name: f"{name}_loss" for name in ("format", "mixed", "content", "interior")}
MARKS = ("format", "mixed")  # the kinds of tokens that a format adds
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


@dataclass(frozen=True, kw_only=True)
class CurveRow(Run):
    """A row of curves.csv: a training's loss on one kind of tokens in numbers (see `Curve`)."""

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
        return Run(**self.fields)


def read_curves(paths: Iterable[str | Path]) -> list[Curve]:
    """Read loss.csv files of adapters and soft prompts; a kind of token that a format does not have gives no curve."""
    found = []
    for path in paths:
        stage = SOFT_PROMPT if stage_of(path) == SOFT_PROMPT else ADAPTER
        table = pd.read_csv(path)
        for part, column in PARTS.items():
            points = table[["step", column]].to_numpy(dtype=float) if column in table else np.empty((0, 2))
            points = points[np.isfinite(points).all(axis=1)]
            if len(points):
                found.append(Curve(run_of(path), stage, part, *points.T))
    return found


def write_curves(losses: Sequence[str], output: str) -> None:
    """Write curves.csv: a row per training, stage and kind of token, in the order of `losses`."""
    rows = []
    for curve in read_curves(losses):
        span = float(curve.steps[-1] - curve.steps[0])
        mean = curve.area / span if span else float(curve.loss.mean())
        about: dict[str, Any] = {**curve.run.fields, "stage": curve.stage, "part": curve.part}
        about |= {"last": curve.last, "halfway_step": curve.halfway_step, "area": curve.area, "mean": mean}
        rows.append(CurveRow(**about, steps=len(curve.steps), first=float(curve.loss[0])))
    write_table(output, records_table(rows, CurveRow))


def write_formality(losses: Sequence[str | Path], certificates: Mapping[str, str | Path], output: str | Path) -> None:
    """Write formality.csv: how formal each format is for the base model.

    Args:
        losses: `validation.csv` of trainings of an adapter without a soft prompt. Its row at step 0 is the base model,
            since an adapter changes nothing before its first step; of several trainings the first is read.
        certificates: the certificate of each format.
        output: CSV to write: `model`, `format`, `formality` (the rank), `sentences`; `tokens` and `bits` of format and
            mixed tokens per sentence, the end of the response among them; and `added_tokens` and `added_bits`, the
            same minus those of running text, empty where the study has no running text.
    """
    rows = []
    for path in losses:
        run = run_of(path)
        start = pd.read_csv(path).iloc[0].fillna(0.0)
        if start["step"] != 0 or run.format not in certificates:
            continue
        sentences = read_json(certificates[run.format])["splits"]["validation"]["sentences"]
        tokens = sum(start[f"{part}_tokens"] for part in MARKS)
        nats = sum(start[f"{part}_tokens"] * start[f"{part}_loss"] for part in MARKS)
        rank = traits_of(run.format).formality
        rows.append([run.model, run.format, rank, sentences, tokens / sentences, nats / math.log(2) / sentences])
    table = pd.DataFrame(rows, columns=["model", "format", "formality", "sentences", "tokens", "bits"])
    table = table.drop_duplicates(["model", "format"]).sort_values(["model", "formality", "format"])
    plain = table[table["format"] == plain_format()].set_index("model")
    for name in ("tokens", "bits"):
        table[f"added_{name}"] = table[name] - table["model"].map(plain[name])
    write_table(output, table)
