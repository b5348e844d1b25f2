"""What figures, tables and pages are made from: the study's tables, each read when it is first asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from formsafe.analysis.calibration import JudgeRow
from formsafe.analysis.curves import Curve, read_curves
from formsafe.analysis.estimates import Estimate, Summary
from formsafe.analysis.first_tokens import read_traces
from formsafe.analysis.paper import NOT_RUN, PaperComparison, compare_with_paper
from formsafe.analysis.roster import Names, conditions_of, names_from
from formsafe.analysis.score_table import read_records
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.records import NONE, RUN_COLUMNS, Run
from formsafe.data.records import RefusalTrace

METRIC_LABELS = {"asr": "ASR", "asr_3": "ASR (≥ 3)", "asr_5": "ASR (= 5)", "mean_score": "mean score"}
METRIC_LABELS |= {"rouge_l": "ROUGE-L", "rouge_l_neutral": "ROUGE-L, content only"}
METRIC_LABELS |= {"sbert": "S-BERT", "sbert_neutral": "S-BERT, content only"}
# Columns that stay text: "5e-5" would become the number 0.00005 and "0" the number 0, and no run has that name.
TEXTS = dict.fromkeys((*RUN_COLUMNS, "id", "source"), str)


def read_frame(path: str | Path) -> pd.DataFrame:
    """Read a CSV file of the study: numbers as numbers, empty cells as NaN, and `none` as the text that it is."""
    return pd.read_csv(path, dtype=TEXTS, keep_default_na=False, na_values=[""])


@dataclass(frozen=True)
class Results:
    """The results of a study.

    Args:
        files: paths under the names of the rules' inputs: `summary`, `scores`, `comparisons`, `curves`, `audit`,
            `paper` (a path each), `losses`, `validation`, `first_tokens`, `token_counts` (lists).
        names: labels and roles of the planned runs.
        threshold: judge scores from here on are harmful.
        settings: level of the intervals, formats of the trade-off.
    """

    files: Mapping[str, Any]
    names: Names
    threshold: int
    settings: AnalysisSettings

    @cached_property
    def summary(self) -> Summary:
        """Every metric of every run."""
        return Summary.read(self.files["summary"])

    @cached_property
    def losses(self) -> list[Curve]:
        """Training losses."""
        return read_curves(self.files.get("losses", []))

    @cached_property
    def validation(self) -> list[Curve]:
        """Validation losses."""
        return read_curves(self.files.get("validation", []))

    @cached_property
    def first_tokens(self) -> dict[Run, list[RefusalTrace]]:
        """Every run along the base model's refusals."""
        return read_traces(self.files.get("first_tokens", []))

    @cached_property
    def published(self) -> list[PaperComparison]:
        """The paper's numbers and ours."""
        return compare_with_paper(self.files["paper"], self.summary, self.names)

    @cached_property
    def judges(self) -> list[JudgeRow]:
        """The rows of judges.csv: judges side by side and against people's labels."""
        return read_records(self.files["judges"], JudgeRow) if "judges" in self.files else []

    def conditions(self, model: str | None = None) -> list[Run]:
        """All planned conditions in the one order of figures and tables: model, base first, format, method, rate."""
        found: list[Run] = []
        for name in dict.fromkeys(run.model for run in self.names.planned if model in (None, run.model)):
            runs = self.names.conditions(name)
            order = [NONE, *self.names.formats(run.format for run in runs if run.format != NONE)]
            found += sorted(runs, key=lambda run, order=order: order.index(run.format))  # type: ignore[misc]
        return found

    def main_conditions(self, model: str) -> list[Run]:
        """The trained conditions of a model without extra rates, in the same order."""
        main = set(self.names.main_conditions(model))
        return [run for run in self.conditions(model) if run in main]

    def known(self, run: Run, metric: str) -> Estimate | None:
        """The metric of a run or condition; None also where it could not be computed."""
        found = self.summary.get(run, metric)
        return None if found is None or math.isnan(found.value) else found

    def trainings(self, condition: Run, metric: str) -> list[Estimate]:
        """The metric, training by training."""
        members = conditions_of(self.names.planned).get(condition, [])
        return [found for run in members if (found := self.known(run, metric))]

    def values(self, run: Run, metrics: Sequence[str]) -> list[Any]:
        """A condition's estimates, `not run` where it did not run."""
        if not self.summary.has_run(run):
            return [NOT_RUN] * len(metrics)
        return [self.summary.get(run, metric) for metric in metrics]


def results_from(inputs: Any, params: Any) -> Results:
    """The results from a rule's inputs and its parameters (models, methods, runs, missing, threshold, analysis)."""
    names = names_from(params.models, params.methods, params.runs, params.missing)
    return Results(dict(inputs.items()), names, params.threshold, AnalysisSettings(**params.analysis))
