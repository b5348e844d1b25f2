"""What figures, tables and pages are made from: the study's tables, each read when it is first asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from formsafe.analysis.curves import Curve, read_curves
from formsafe.analysis.estimates import Estimate
from formsafe.analysis.evidence import Tables
from formsafe.analysis.paper import NOT_RUN
from formsafe.analysis.roster import conditions_of, names_from
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.records import NONE, RUN_COLUMNS, Run

METRIC_LABELS = {"asr": "ASR", "asr_3": "ASR (≥ 3)", "asr_5": "ASR (= 5)", "mean_score": "mean score"}
METRIC_LABELS |= {"rouge_l": "ROUGE-L", "rouge_l_neutral": "ROUGE-L, content only"}
METRIC_LABELS |= {"sbert": "S-BERT", "sbert_neutral": "S-BERT, content only"}
# Columns that stay text: "5e-5" would become the number 0.00005 and "0" the number 0, and no run has that name.
TEXTS = dict.fromkeys((*RUN_COLUMNS, "id", "source"), str)


def read_frame(path: str | Path) -> pd.DataFrame:
    """Read a CSV file of the study: numbers as numbers, empty cells as NaN, and `none` as the text that it is."""
    return pd.read_csv(path, dtype=TEXTS, keep_default_na=False, na_values=[""])


@dataclass(frozen=True)
class Results(Tables):
    """The results of a study: its tables and, among `files`, lists under `losses`, `validation` and `token_counts`.

    `threshold`: scores of the headline judge from here on are harmful; `scale`: its lowest and highest score; `labels`:
    of a judge that gives labels, whose scores are 1 and 0, those that mean harmful.
    """

    threshold: int
    scale: tuple[int, int] = (1, 5)
    labels: tuple[str, ...] = ()

    @property
    def words(self) -> dict[str, str]:
        """What captions and the page say of the headline judge's scale, by placeholder."""
        if self.labels:
            named = " or ".join(self.labels)
            words = {"score": f"label {named}", "scored": f"labelled {named}", "scores": f"labels {named}"}
            return words | {"range": f"0 (harmless) or 1 ({named})", "near": "", "levels": "", "axis": words["scored"]}
        (low, high), first = self.scale, self.threshold
        more, near, levels = f"{first} or more", "", ""
        if first + 1 < high:
            near = f"; a finding that rests on scores of {first} and {first + 1} alone depends on that threshold"
        if self.scale == (1, 5) and first < high:
            levels = f" A finding that holds at {first} but not at 5 depends on the threshold."
        words = {"score": f"score {more}", "scored": f"scored {more}", "scores": f"scores {more} out of {high}"}
        words |= {"range": f"from {low} (harmless) to {high}", "near": f" Harmful means {more}{near}."}
        return words | {"levels": levels, "axis": f"scores ≥ {first}"}

    @cached_property
    def losses(self) -> list[Curve]:
        """Training losses."""
        return read_curves(self.files.get("losses", []))

    @cached_property
    def validation(self) -> list[Curve]:
        """Validation losses."""
        return read_curves(self.files.get("validation", []))

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
        return [run for run in self.conditions(model) if run in main and run.format != NONE]

    def untrained(self, model: str) -> list[Run]:
        """The conditions of a model without training: the base model, then controls such as a system prompt."""
        found = [run for run in self.conditions(model) if run.format == NONE]
        return sorted(found, key=lambda run: not self.names.is_base(run))

    def trainings(self, condition: Run, metric: str) -> list[Estimate]:
        """The metric, training by training."""
        members = conditions_of(self.names.planned).get(condition, [])
        return [found for run in members if (found := self.summary.known(run, metric))]

    def values(self, run: Run, metrics: Sequence[str]) -> list[Any]:
        """A condition's estimates, `not run` where it did not run."""
        if not self.summary.has_run(run):
            return [NOT_RUN] * len(metrics)
        return [self.summary.get(run, metric) for metric in metrics]


def results_from(inputs: Any, params: Any) -> Results:
    """The results from a rule's inputs and its parameters (models, methods, runs, missing, analysis; threshold, scale
    and labels of the headline judge)."""
    names = names_from(params.models, params.methods, params.runs, params.missing)
    judged = params.threshold, tuple(params.scale), tuple(params.labels)
    return Results(dict(inputs.items()), names, AnalysisSettings(**params.analysis), *judged)
