"""What tables are made of and from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from formsafe.analysis.estimates import Estimate, Summary
from formsafe.analysis.paper import NOT_RUN, Comparison
from formsafe.analysis.roster import Names
from formsafe.config.grid import NONE, Run

Cell = str | int | float | Estimate | None
RUN_HEADER = ["Model", "Format", "Method", "LR"]
METRIC_LABELS = {
    "asr": "ASR",
    "asr_3": "ASR (≥ 3)",
    "asr_5": "ASR (= 5)",
    "rouge_l": "ROUGE-L",
    "sbert": "S-BERT",
    "rouge_l_neutral": "ROUGE-L, content only",
    "sbert_neutral": "S-BERT, content only",
    "mean_score": "mean score",
}


@dataclass(frozen=True)
class Table:
    """A table; `caption` says how to read it."""

    name: str
    title: str
    caption: str
    header: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Results:
    """All that the tables are made of."""

    names: Names
    summary: Summary
    comparisons: list[dict[str, str]]
    curves: list[dict[str, str]]
    audit: list[dict[str, str]]
    published: list[Comparison]
    token_counts: Mapping[str, Any]
    threshold: int

    def conditions(self) -> list[Run]:
        """All planned conditions: models in order, base first, then by format as the paper's tables go."""
        found: list[Run] = []
        for model in dict.fromkeys(run.model for run in self.names.planned):
            runs = self.names.conditions(model)
            formats = list(dict.fromkeys(run.format for run in runs if run.format != NONE))
            found += sorted(runs, key=lambda run: -1 if run.format == NONE else formats.index(run.format))
        return found

    def row(self, run: Run, metrics: Iterable[str]) -> list[Cell]:
        """A condition's names and values, each `not run` where it did not run."""
        return [*self.run_cells(run), *self.values(run, metrics)]

    def run_cells(self, run: Run) -> list[Cell]:
        """Model, format, method and rate as labels."""
        names = self.names
        format = None if run.format == NONE else names.format(run.format)
        return [names.model(run.model), format, names.method(run.method), None if run.lr == NONE else run.lr]

    def values(self, run: Run, metrics: Iterable[str]) -> list[Cell]:
        """A condition's estimates."""
        if not self.summary.has_run(run):
            return [NOT_RUN for _ in metrics]
        return [self.summary.get(run, metric) for metric in metrics]

    def plain(self, run: Run, metrics: Iterable[str]) -> list[Cell]:
        """A condition's values without their intervals."""
        return [cell.value if isinstance(cell, Estimate) else cell for cell in self.values(run, metrics)]
