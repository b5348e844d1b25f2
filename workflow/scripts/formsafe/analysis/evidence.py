"""What the verdict rests on: the study's tables, what its methods are compared as, and which trainings say nothing."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from formsafe.analysis.audit import Shift
from formsafe.analysis.calibration import JudgeRow
from formsafe.analysis.comparisons import Comparison
from formsafe.analysis.contrasts import Contrast
from formsafe.analysis.curves import CurveRow
from formsafe.analysis.estimates import Summary
from formsafe.analysis.first_tokens import read_traces
from formsafe.analysis.paper import PaperComparison, compare_with_paper
from formsafe.analysis.roster import Names, condition_of
from formsafe.analysis.score_table import Record, read_records
from formsafe.config.grid import tuned_run
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.config.settings.grid import MethodSettings
from formsafe.core.files import read_json
from formsafe.core.records import Run
from formsafe.data.records import RefusalTrace


def _rows(name: str, kind: Callable[..., Record]) -> cached_property[list[Record]]:
    return cached_property(lambda tables: read_records(tables.files[name], kind))


@dataclass(frozen=True)
class Tables:
    """The tables of a study, each read when it is first asked for.

    Args:
        files: paths under the names of the rules' inputs: `summary`, `comparisons`, `contrasts`, `curves`, `audit`,
            `judges`, `paper` (a path each), `first_tokens` (a list).
        names: labels and roles of the planned runs.
        settings: levels of intervals and tests, power, margin, formats of the trade-off.
    """

    files: Mapping[str, Any]
    names: Names
    settings: AnalysisSettings

    @cached_property
    def summary(self) -> Summary:
        """Every metric of every run."""
        return Summary.read(self.files["summary"])

    # Rows of the files of the same names.
    comparisons = _rows("comparisons", Comparison)
    contrasts = _rows("contrasts", Contrast)
    curves = _rows("curves", CurveRow)
    audit = _rows("audit", Shift)

    @cached_property
    def judges(self) -> list[JudgeRow]:
        """Rows of judges.csv: judges side by side and against people's labels."""
        return read_records(self.files["judges"], JudgeRow) if "judges" in self.files else []

    @cached_property
    def published(self) -> list[PaperComparison]:
        """The paper's numbers beside ours."""
        return compare_with_paper(self.files["paper"], self.summary, self.names, self.settings.confidence)

    @cached_property
    def first_tokens(self) -> dict[Run, list[RefusalTrace]]:
        """Every run along the base model's refusals."""
        return read_traces(self.files.get("first_tokens", []))


@dataclass(frozen=True)
class Evidence(Tables):
    """All that the verdict is made of: the tables, and warm-up steps by stage of training (`warmup`)."""

    warmup: dict[str, int]

    @cached_property
    def seconds(self) -> float:
        """Seconds of all stages of all trainings, from their metrics."""
        return sum(float(read_json(path).get("seconds") or 0) for path in self.files.get("metrics", []))

    @cached_property
    def _methods(self) -> dict[str, MethodSettings]:
        return {name: MethodSettings.model_validate(settings) for name, settings in self.names.methods.items()}

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
        own, rests_on = condition_of(condition), {condition_of(condition)}
        if own.method in self._methods:
            lender = replace(own, method=self._methods[own.method].adapter_of or own.method)
            tuned = [tuned_run(run, self._methods) for run in (own, lender)]
            rests_on |= {lender, *(run.without("method", "lr") for run in tuned if run is not None)}
        return bool(rests_on & {condition_of(run) for run in self.failures(condition.model)})
