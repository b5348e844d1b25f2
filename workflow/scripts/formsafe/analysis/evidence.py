"""What the verdict rests on: the study's tables, what its methods are compared as, and which trainings say nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from formsafe.analysis.audit import Shift
from formsafe.analysis.comparisons import Comparison
from formsafe.analysis.contrasts import Contrast
from formsafe.analysis.curves import CurveRow
from formsafe.analysis.estimates import Summary
from formsafe.analysis.first_tokens import Traces, read_traces
from formsafe.analysis.paper import PaperComparison, compare_with_paper
from formsafe.analysis.roster import Names, condition_of
from formsafe.analysis.score_table import read_records
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.files import read_json
from formsafe.core.records import Run


@dataclass(frozen=True)
class Evidence:
    """All that the verdict is made of.

    Args:
        names: labels and roles of the runs.
        summary: summary.csv.
        comparisons: rows of comparisons.csv.
        contrasts: rows of contrasts.csv.
        curves: rows of curves.csv.
        audit: rows of audit.csv.
        published: the paper's numbers beside ours.
        seconds: measured seconds of all stages of all trainings.
        warmup: warm-up steps by stage of training.
        settings: level, power and margin.
        first_tokens: the runs along the base model's refusals.
    """

    names: Names
    summary: Summary
    comparisons: Sequence[Comparison]
    contrasts: Sequence[Contrast]
    curves: Sequence[CurveRow]
    audit: Sequence[Shift]
    published: Sequence[PaperComparison]
    seconds: float
    warmup: dict[str, int]
    settings: AnalysisSettings
    first_tokens: Traces = field(default_factory=dict)

    @classmethod
    def read(cls, inputs: Mapping[str, Any], names: Names, warmup: dict[str, int], settings: AnalysisSettings) -> Self:
        """Read the tables.

        Args:
            inputs: paths under `summary`, `comparisons`, `contrasts`, `curves`, `audit` and `paper`, under
                `first_tokens` the traces of all runs, and under `metrics` those of all stages, with their `seconds`.
            names: labels and roles of the runs.
            warmup: warm-up steps by stage of training.
            settings: level, power and margin.
        """
        kinds = {"comparisons": Comparison, "contrasts": Contrast, "curves": CurveRow, "audit": Shift}
        found: dict[str, Any] = {name: read_records(inputs[name], kind) for name, kind in kinds.items()}
        found["summary"] = summary = Summary.read(inputs["summary"])
        found["published"] = compare_with_paper(inputs["paper"], summary, names, settings.confidence)
        found["seconds"] = sum(float(read_json(path).get("seconds") or 0) for path in inputs.get("metrics", []))
        found["first_tokens"] = read_traces(inputs.get("first_tokens", []))
        return cls(names=names, warmup=warmup, settings=settings, **found)

    @property
    def alpha(self) -> float:
        """Level of the tests."""
        return 1 - self.settings.confidence

    def pairs(self, model: str, family: str, metric: str, a_role: str, b_role: str) -> list[Comparison]:
        """Comparisons between the main conditions (and base) of two roles."""
        main = {*self.names.main_conditions(model), *self.names.bases(model)}
        found = []
        for row in self.comparisons:
            asked = (row.model, row.family, row.metric) == (model, family, metric)
            roles = (self.names.role(row.a_method), self.names.role(row.b_method))
            if asked and roles == (a_role, b_role) and {row.side("a"), row.side("b")} <= main:
                found.append(row)
        return found

    def failures(self, model: str) -> dict[Run, str]:
        """Trainings that prove nothing, with the reason: the loss did not fall, or it ended within its warm-up.

        A soft prompt's training stands under a run without method and rate.
        """
        found = {}
        for row in self.curves:
            if row.model == model and row.part == "all":
                warmup = self.warmup.get(row.stage, 0)
                if row.steps <= warmup:
                    found[row.run] = f"ended after {row.steps} steps, within its warm-up of {warmup}"
                elif math.isnan(row.halfway_step):
                    found[row.run] = "its loss did not fall"
        return found

    def failed(self, condition: Run) -> bool:
        """Whether a training that a condition rests on proves nothing: its own, the borrowed one, its soft prompt's."""
        failures, settings = self.failures(condition.model), self.names.methods.get(condition.method, {})
        own = condition_of(condition)
        borrowed = Run(**own.fields | {"method": settings.get("adapter_of") or own.method})
        soft_prompt = own.without("method", "lr") if settings.get("soft_prompt") else own
        return bool({own, borrowed, soft_prompt} & {condition_of(run) for run in failures})
