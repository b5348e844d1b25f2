"""The published numbers beside ours (Okuda and Tsuruoka 2026; `workflow/data/paper_numbers.csv`)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from formsafe.analysis.estimates import Estimate, Summary
from formsafe.analysis.roster import ALL_SEEDS, Names
from formsafe.analysis.score_table import read_csv
from formsafe.config.grid import Run

NOT_RUN, NO_SCORES, NO_INTERVAL, INSIDE, OUTSIDE = "not run", "no scores", "no interval", "inside", "outside"
UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Published:
    """One number of the paper and where it stands; `model` is the label the paper uses.

    Its ASR is `asr_3`, whatever threshold a study sets: the paper counts scores of 3 or more.
    """

    place: str
    model: str
    method: str
    format: str
    lr: str
    metric: str
    value: float


@dataclass(frozen=True)
class Comparison:
    """A published number and what we have for it."""

    published: Published
    condition: Run
    ours: Estimate | None

    @property
    def difference(self) -> float:
        """Ours less the paper's; NaN without ours."""
        return math.nan if self.ours is None else self.ours.value - self.published.value

    @property
    def verdict(self) -> str:
        """Whether the paper's number lies in our interval, or why that cannot be said."""
        if self.ours is None:
            return NOT_RUN
        if math.isnan(self.ours.value):
            return NO_SCORES
        if math.isnan(self.ours.low):
            return NO_INTERVAL
        return INSIDE if self.ours.low <= self.published.value <= self.ours.high else OUTSIDE


def read_published(path: str) -> list[Published]:
    """Read the published numbers."""
    return [Published(**{**row, "value": float(row["value"])}) for row in read_csv(path)]  # type: ignore[arg-type]


def compare_with_paper(published: Iterable[Published], summary: Summary, names: Names) -> list[Comparison]:
    """Find our condition for each published number, in the paper's order."""
    found = []
    for number in published:
        model = model_named(number.model, names)
        condition = Run(model, number.method, number.format, number.lr, ALL_SEEDS)
        ours = (summary.get(condition, number.metric) or UNKNOWN) if summary.has_run(condition) else None
        found.append(Comparison(number, condition, ours))
    return found


def model_named(label: str, names: Names) -> str:
    """The study's name of the model that the paper calls `label`, by label or name; else `label` itself."""
    wanted = label.casefold()
    return next((name for name, own in names.models.items() if wanted in (name.casefold(), own.casefold())), label)


def of_model(comparisons: Sequence[Comparison], model: str) -> list[Comparison]:
    """One model's numbers, each once: table 2 repeats some of figure 3 and table 1."""
    once: dict[tuple[Run, str], Comparison] = {}
    for each in comparisons:
        once.setdefault((each.condition, each.published.metric), each)
    return [each for each in once.values() if each.condition.model == model]
