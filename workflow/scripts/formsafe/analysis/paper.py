"""The published numbers beside ours (Okuda and Tsuruoka 2026; `workflow/data/paper_numbers.csv`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtri, stdtrit  # a tenth of a second; scipy.stats takes a whole one

from formsafe.analysis.estimates import UNKNOWN, Estimate, Summary, wilson
from formsafe.analysis.roster import ALL_SEEDS, Names
from formsafe.analysis.score_table import read_records
from formsafe.core.records import Run

NOT_RUN, NO_SCORES, NO_INTERVAL, INSIDE, OUTSIDE = "not run", "no scores", "no interval", "inside", "outside"


@dataclass(frozen=True)
class Published:
    """One number of the paper and where it stands; `model` is the label the paper uses.

    Its ASR is `asr_3`, whatever threshold a study sets: the paper counts scores of 3 or more. `n`: prompts that it is
    the mean of (section 4).
    """

    place: str
    model: str
    method: str
    format: str
    lr: str
    metric: str
    value: float
    n: int


@dataclass(frozen=True)
class PaperComparison:
    """A published number and what we have for it: all trainings together, and the first of them alone."""

    published: Published
    condition: Run
    ours: Estimate | None
    single: Estimate | None = None
    confidence: float = 0.95

    @property
    def difference(self) -> float:
        """Ours minus the paper's; NaN without ours."""
        return math.nan if self.ours is None else self.ours.value - self.published.value

    @property
    def prediction(self) -> tuple[float, float]:
        """Where one more study's number lies if it measures the same as ours: both have an error of their own.

        Limits of a difference of two estimates (Newcombe 1998, independent data): the paper's own error as Wilson's
        interval, or for means as that of one of our trainings; with several trainings their scatter in addition, since
        the paper has one. With one training the scatter is unknown and left out.
        """
        if self.ours is None or self.single is None or math.isnan(self.ours.low):
            return math.nan, math.nan
        value, n = self.published.value, self.published.n
        if self.published.metric.startswith("asr"):
            low, high = wilson(value, n, float(ndtri((1 + self.confidence) / 2)))
        else:
            reach = (self.single.high - self.single.low) / 2 * math.sqrt(self.single.n / n)
            low, high = value - reach, value + reach
        scatter = 0.0
        if not math.isnan(self.ours.scatter):
            scatter = float(stdtrit(self.ours.trainings - 1, (1 + self.confidence) / 2)) * self.ours.scatter
        below = math.hypot(high - value, self.ours.value - self.ours.low, scatter)
        above = math.hypot(value - low, self.ours.high - self.ours.value, scatter)
        return self.ours.value - below, self.ours.value + above

    @property
    def verdict(self) -> str:
        """Whether the paper's number is inside our prediction interval, or why that cannot be said."""
        if self.ours is None:
            return NOT_RUN
        if math.isnan(self.ours.value):
            return NO_SCORES
        low, high = self.prediction
        if math.isnan(low):
            return NO_INTERVAL
        return INSIDE if low <= self.published.value <= high else OUTSIDE


def compare_with_paper(path: str, summary: Summary, names: Names, confidence: float = 0.95) -> list[PaperComparison]:
    """Find our condition for each published number, in the order of the file `path`.

    `confidence`: of the summary's intervals.
    """
    found = []
    for number in read_records(path, Published):
        model = model_named(number.model, names)
        condition = Run(model, number.method, number.format, number.lr, ALL_SEEDS)
        ours = (summary.get(condition, number.metric) or UNKNOWN) if summary.has_run(condition) else None
        found.append(PaperComparison(number, condition, ours, summary.training(condition, number.metric), confidence))
    return found


def model_named(label: str, names: Names) -> str:
    """The study's name of the model that the paper calls `label`, by label or name; else `label` itself."""
    wanted = label.casefold()
    return next((name for name, own in names.models.items() if wanted in (name.casefold(), own.casefold())), label)


def of_model(comparisons: Sequence[PaperComparison], model: str) -> list[PaperComparison]:
    """One model's numbers, each once: table 2 repeats some of figure 3 and table 1."""
    once: dict[tuple[Run, str], PaperComparison] = {}
    for each in comparisons:
        once.setdefault((each.condition, each.published.metric), each)
    return [each for each in once.values() if each.condition.model == model]
