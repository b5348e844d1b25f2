"""Values with their intervals, and the summary that holds them: light, for all that only reads results."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from formsafe.analysis.roster import ALL_SEEDS, conditions_of
from formsafe.analysis.score_table import RUN_COLUMNS, as_float, read_csv
from formsafe.config.grid import Run

SUMMARY_COLUMNS = (*RUN_COLUMNS, "metric", "value", "ci_low", "ci_high", "n", "trainings", "scatter")


class Estimate(NamedTuple):
    """A value with its interval over n answers; NaN where there is nothing to estimate from.

    `scatter`: standard deviation between trainings; NaN where there is one.
    """

    value: float
    low: float
    high: float
    n: int
    trainings: int = 1
    scatter: float = math.nan


UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)


def signed(value: float) -> str:
    """`+0.062`, or `+1.4e-06` for what three decimals would print as nothing."""
    return f"{value:+.1e}" if 0 < abs(value) < 0.0005 else f"{value + 0.0:+.3f}"  # -0.0 is +0.000


def interval(low: float, high: float) -> str:
    """`[+0.010, +0.062]`."""
    return "without an interval" if math.isnan(low) else f"[{signed(low)}, {signed(high)}]"


def wilson(share: float, n: float, critical: float) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); open at 0 and 1, so never of width 0.

    Args:
        share: share of ones.
        n: answers; fewer where they are not independent.
        critical: two-sided quantile, of the normal or of a t distribution.
    """
    spread = critical**2 / n
    middle = (share + spread / 2) / (1 + spread)
    reach = critical / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    # Rounding puts the limit at a share of 0 or 1 a last bit beside it: 3.5e-18 in the tables, or below 0.
    return (middle - reach if share > 0 else 0.0), (middle + reach if share < 1 else 1.0)


class Summary:
    """summary.csv as a lookup of conditions and metrics."""

    def __init__(self, rows: Iterable[Mapping[str, str]]) -> None:
        self._cells: dict[tuple[Run, str], Estimate] = {}
        self.runs: list[Run] = []
        for row in rows:
            run = Run(**{name: row[name] for name in RUN_COLUMNS})
            value, low, high, scatter = (as_float(row.get(key)) for key in ("value", "ci_low", "ci_high", "scatter"))
            trainings = int(row.get("trainings") or 1)
            self._cells[run, row["metric"]] = Estimate(value, low, high, int(row["n"]), trainings, scatter)
            if run not in self.runs:
                self.runs.append(run)

    @classmethod
    def read(cls, path: str) -> "Summary":
        """Read a summary.csv."""
        return cls(read_csv(path))

    def get(self, condition: Run, metric: str) -> Estimate | None:
        """The condition's estimate, over its seeds or of its one run; None where it has none."""
        members = conditions_of(self.runs).get(condition, [])
        return self._cells.get((members[0] if len(members) == 1 else condition, metric))

    def known(self, condition: Run, metric: str) -> Estimate | None:
        """The condition's estimate; None also where it could not be computed."""
        found = self.get(condition, metric)
        return None if found is None or math.isnan(found.value) else found

    def training(self, condition: Run, metric: str) -> Estimate | None:
        """The estimate of the condition's first training."""
        members = conditions_of(run for run in self.runs if run.seed != ALL_SEEDS).get(condition, [])
        return self._cells.get((members[0], metric)) if members else None

    def metrics(self, prefix: str = "") -> list[str]:
        """Names of metrics that start with `prefix`, sorted."""
        return sorted({metric for _, metric in self._cells if metric.startswith(prefix)})

    def has_run(self, condition: Run) -> bool:
        """Whether the condition has any result."""
        return condition in self.runs or condition in conditions_of(self.runs)
