"""Values with their intervals, and the summary that holds them: light, for all that only reads results."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from formsafe.analysis.roster import conditions_of
from formsafe.analysis.score_table import RUN_COLUMNS, as_float, read_csv
from formsafe.config.grid import Run

SUMMARY_COLUMNS = (*RUN_COLUMNS, "metric", "value", "ci_low", "ci_high", "n")


class Estimate(NamedTuple):
    """A value with its interval; NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float
    n: int


def estimate_from(row: Mapping[str, str], key: str) -> Estimate:
    """The estimate in a CSV row whose value stands under `key`."""
    return Estimate(as_float(row[key]), as_float(row["ci_low"]), as_float(row["ci_high"]), int(row["n"]))


class Summary:
    """summary.csv as a lookup of conditions and metrics."""

    def __init__(self, rows: Iterable[Mapping[str, str]]) -> None:
        self._cells: dict[tuple[Run, str], Estimate] = {}
        self.runs: list[Run] = []
        for row in rows:
            run = Run(**{name: row[name] for name in RUN_COLUMNS})
            self._cells[run, row["metric"]] = estimate_from(row, "value")
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

    def metrics(self, prefix: str = "") -> list[str]:
        """Names of metrics that start with `prefix`, sorted."""
        return sorted({metric for _, metric in self._cells if metric.startswith(prefix)})

    def has_run(self, condition: Run) -> bool:
        """Whether the condition has any result."""
        return condition in self.runs or condition in conditions_of(self.runs)
