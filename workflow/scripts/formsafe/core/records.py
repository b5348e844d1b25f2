"""Typed records that cross files: the identity of a run and the findings of the verdict."""

from dataclasses import dataclass, fields, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

NONE = "none"
"""A field that a run does not have (a base model has no format), or the study's own value of an optional axis."""


@dataclass(frozen=True)
class Run:
    """One row of the grid: one training, or one base model. Every field is the text that tables show.

    Example: `Run("llama", "sft", "json", "5e-5", "0")`; with the optional axes
    `Run("llama", "sft", "json", "5e-5", "0", data_seed="1", examples="400")`.
    """

    model: str
    method: str
    format: str = NONE
    lr: str = NONE
    seed: str = NONE
    data_seed: str = NONE
    """Seed of the draw of training rows; `none`: the study's own, `corpus.seed`."""
    examples: str = NONE
    """Number of training examples; `none`: the study's own, `corpus.splits.train`."""

    @property
    def fields(self) -> dict[str, str]:
        """The columns that name a run in every table."""
        return {name: getattr(self, name) for name in RUN_COLUMNS}  # dataclasses.asdict is ten times slower

    @property
    def draw(self) -> str:
        """Which training rows it sees, as a part of a path: empty for the study's own, else `+data=1+examples=400`."""
        data = "" if self.data_seed == NONE else f"+data={self.data_seed}"
        return data + ("" if self.examples == NONE else f"+examples={self.examples}")

    def without(self, *axes: str) -> "Run":
        """The run with the fields `axes` set to `none`."""
        return replace(self, **{axis: NONE for axis in axes})


RUN_COLUMNS = tuple(field.name for field in fields(Run))

Status = Literal["shown", "not shown", "in this training only", "cannot be said"]


class Finding(BaseModel):
    """One answer of the verdict: a question of the study in plain words, with its numbers.

    `results/{study}/verdict.json` is a list of findings; pages show them and word nothing themselves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    """Short name, unique within the file."""
    model: str | None = None
    """Name of the model that it is about; null: all of the study."""
    section: str
    """Section of the report: `safety`, `task`, `training`, `judges`, `controls`."""
    question: str
    subject: str = ""
    """What this answer is about, in a few words: a question has one for each pair of runs."""
    status: Status
    sentence: str
    """One plain sentence with the numbers."""
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    n_prompts: int | None = None
    n_trainings: int | None = None
    """Trainings of a condition (the smallest number where they differ)."""
    figure: str | None = None
    """Name of the figure that shows it."""
