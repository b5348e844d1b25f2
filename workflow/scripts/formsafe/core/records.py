"""Typed records that cross files: the identity of a run and the findings of the verdict."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

NONE = "none"
"""A field that a run does not have (a base model has no format), or the study's own value of an optional axis."""


@dataclass(frozen=True)
class Run:
    """One row of the grid: one training, or one base model. Every field is the text that tables show.

    Example: `Run("llama", "sft", "json", "5e-5", "0")`; with the optional axes
    `Run("llama", "sft", "json", "5e-5", "0", data_seed="1", examples="400")`: the seed of the draw of training rows and
    their number, `none` for the study's own (`corpus.seed`, `corpus.splits.train`).
    """

    model: str
    method: str
    format: str = NONE
    lr: str = NONE
    seed: str = NONE
    data_seed: str = NONE
    examples: str = NONE

    @property
    def fields(self) -> dict[str, str]:
        """The columns that name a run in every table."""
        return {name: getattr(self, name) for name in RUN_COLUMNS}  # dataclasses.asdict is ten times slower

    @property
    def draw(self) -> str:
        """Which training rows it sees, as a part of a path: empty for the study's own, else `+data=1+examples=400`."""
        data = "" if self.data_seed == NONE else f"+data={self.data_seed}"
        return data + ("" if self.examples == NONE else f"+examples={self.examples}")

    @property
    def condition(self) -> str:
        """A short name of the run without its seeds, unique within a model: `sft-json-5e-5`."""
        return joined((self.method, self.format, self.lr, self.examples))

    def without(self, *axes: str) -> "Run":
        """The run with the fields `axes` set to `none`."""
        return replace(self, **{axis: NONE for axis in axes})


RUN_COLUMNS = tuple(field.name for field in fields(Run))


def joined(parts: Iterable[str], sign: str = "-") -> str:
    """A short name from the fields of a run that it has: `sft-json-5e-5`."""
    return sign.join(part for part in parts if part != NONE)


Status = Literal["shown", "not shown", "in this training only", "cannot be said"]


class Finding(BaseModel):
    """One answer of the verdict: a question of the study in plain words, with its numbers.

    `results/{study}/verdict.json` is a list of findings; pages show them and word nothing themselves.

    Attributes:
        id: short name, unique within the file.
        model: name of the model that it is about; null: all of the study.
        section: of the report: `safety`, `task`, `training`, `judges`, `controls`.
        subject: what this answer is about, in a few words: a question has one for each pair of runs.
        sentence: one plain sentence with the numbers.
        n_trainings: trainings of a condition (the smallest number where they differ).
        figure: name of the figure that shows it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    model: str | None = None
    section: str
    question: str
    subject: str = ""
    status: Status
    sentence: str
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    n_prompts: int | None = None
    n_trainings: int | None = None
    figure: str | None = None
