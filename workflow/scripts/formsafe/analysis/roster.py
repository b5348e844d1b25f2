"""Names of runs and their order in figures, tables and text: the one place that words and orders them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from formsafe.config.settings.grid import MethodSettings
from formsafe.core.records import NONE, Run
from formsafe.formats.registry import format_names, traits_of

ALL_SEEDS = "all"
SOURCE_LABELS = {"advbench": "AdvBench", "beavertails": "BeaverTails", "directharm4": "DirectHarm4"}
SOURCE_LABELS |= {"gsm_danger": "GSM-Danger"}


@cache
def condition_of(run: Run) -> Run:
    """The run without its seeds, of training and of rows: what is compared and drawn."""
    return replace(run, seed=ALL_SEEDS, data_seed=NONE)


def conditions_of(runs: Iterable[Run]) -> dict[Run, list[Run]]:
    """Group runs by condition, in order of first appearance."""
    groups: dict[Run, list[Run]] = {}
    for run in runs:
        groups.setdefault(condition_of(run), []).append(run)
    return groups


@dataclass(frozen=True)
class Names:
    """Labels and roles.

    Args:
        models: model name to label.
        methods: method name to its settings (`MethodSettings` as builtins), in the configuration's order.
        planned: every run of the study, missing ones included, in the order of figures and tables.
        missing: those of them without results.
    """

    models: Mapping[str, str]
    methods: Mapping[str, Mapping[str, Any]]
    planned: Sequence[Run] = ()
    missing: Sequence[Run] = ()

    def model(self, name: str) -> str:
        """Label of a model."""
        return self.models.get(name, name)

    def method(self, name: str) -> str:
        """Label of a method."""
        return str(self.methods.get(name, {}).get("label", name))

    def format(self, name: str) -> str:
        """Label of a format."""
        return traits_of(name).label

    def formats(self, names: Iterable[str]) -> list[str]:
        """Formats in the study's order, each once."""
        order = list(dict.fromkeys(run.format for run in self.planned))
        return sorted(dict.fromkeys(names), key=lambda name: order.index(name) if name in order else len(order))

    def source(self, name: str) -> str:
        """Label of a source of harmful prompts."""
        return SOURCE_LABELS.get(name, name)

    def is_base(self, run: Run) -> bool:
        """Whether the run is the model that all others are compared with: no training, nothing added."""
        return run.format == NONE if run.method not in self.methods else self.role(run.method) == "base"

    def is_trained(self, run: Run) -> bool:
        """Whether the run has a training, so that another training could give another result."""
        return bool(self.methods.get(run.method, {}).get("trained", run.format != NONE))

    def trains_adapter(self, run: Run) -> bool:
        """Whether an adapter is trained for the run: neither borrowed nor projected nor left out."""
        settings = self.methods.get(run.method, {})
        return self.is_trained(run) and settings.get("adapter_of") is None and settings.get("soft_prompt") != "only"

    def role(self, method: str) -> str:
        """What a method is compared as, from the settings that it changes.

        `base`: no training; `plain`: training and nothing else (SFT); `separated`: with a soft prompt that is dropped
        (ProMoT); `control`: any other arm, whether a control or a mitigation (a system prompt at test, a kept soft
        prompt, a borrowed adapter, safety examples).
        """
        settings, default = self.methods.get(method, {}), MethodSettings(label="").model_dump()
        changed = {key: value for key, value in settings.items() if key != "label" and value != default.get(key)}
        roles = {"base": {"trained": False}, "plain": {}, "separated": {"soft_prompt": "tuned"}}
        return next((role for role, expected in roles.items() if changed == expected), "control")

    def is_plain(self, method: str) -> bool:
        """Whether the method is training and nothing else (SFT)."""
        return self.role(method) == "plain"

    def is_separated(self, method: str) -> bool:
        """Whether the method trains with a soft prompt and drops it at inference (ProMoT)."""
        return self.role(method) == "separated"

    def conditions(self, model: str) -> list[Run]:
        """All planned conditions of a model, in order."""
        return list(conditions_of(run for run in self.planned if run.model == model))

    def run(self, run: Run, rates: bool = False) -> str:
        """A run in words, without its model: `SFT JSON 5e-5 seed 1`; its seeds where trainings of its condition differ
        in them, its rate where there are several, or with `rates`."""
        parts = ["soft prompt" if run.method == NONE else self.method(run.method)]
        if run.format != NONE:
            parts.append(self.format(run.format))
        several = len({each.lr for each in self.planned if each.model == run.model and each.lr != NONE}) > 1
        if run.lr != NONE and (rates or several):
            parts.append(run.lr)
        if run.examples != NONE:
            parts.append(f"{run.examples} examples")
        # A soft prompt is shared by the runs of its format, whatever their method and rate.
        shared = [each.without("method", "lr") for each in self.planned] if run.method == NONE else self.planned
        trainings = [each for each in shared if condition_of(each) == condition_of(run)]
        if run.seed not in (NONE, ALL_SEEDS) and len({each.seed for each in trainings}) > 1:
            parts.append(f"seed {run.seed}")
        if run.data_seed != NONE and len({each.data_seed for each in trainings}) > 1:
            parts.append(f"data seed {run.data_seed}")
        return " ".join(parts)

    def training(self, run: Run) -> str:
        """A training in words; the soft prompt of stage 1 is a run without method and rate."""
        prompted = self.methods.get(run.method, {}).get("soft_prompt") is not None
        return self.run(run) + (" (stage 1)" if run.method == NONE else " (stage 2)" if prompted else "")

    def series(self, run: Run) -> str:
        """Method, and rate where there are several: what bars of one colour have in common."""
        return self.run(run.without("format", "seed", "data_seed"))

    def bases(self, model: str) -> list[Run]:
        """The planned conditions of a model as it came."""
        return [run for run in self.conditions(model) if self.is_base(run)]

    def main_conditions(self, model: str) -> list[Run]:
        """The trained conditions without extra rates: of each method the rates that cover most of its formats.

        Figure 3 without table 2; a control that ran for one format only is kept.
        """
        trained = [run for run in self.conditions(model) if not self.is_base(run)]
        covered = Counter((run.method, run.lr) for run in trained)
        most = {run.method: 0 for run in trained}
        for (method, _), formats in covered.items():
            most[method] = max(most[method], formats)
        return [run for run in trained if covered[run.method, run.lr] == most[run.method]]


def names_from(
    models: Mapping[str, str],
    methods: Mapping[str, Mapping[str, Any]],
    runs: Iterable[Mapping[str, str]],
    missing: Iterable[Mapping[str, str]] = (),
) -> Names:
    """Build the names from rule parameters; all runs are in one order, whichever of them are missing."""
    absent = [Run(**fields) for fields in missing]
    planned = [*(Run(**fields) for fields in runs), *absent]
    orders = [list(dict.fromkeys(run.model for run in planned)), list(methods), [NONE, *format_names()]]

    def place(run: Run) -> list[float]:
        known = zip((run.model, run.method, run.format), orders, strict=True)
        ranks = [float(order.index(name) if name in order else len(order)) for name, order in known]
        numbers = (run.lr, run.examples, run.seed, run.data_seed)
        return [*ranks, *(-1.0 if text == NONE else float(text) for text in numbers)]

    ordered = sorted(planned, key=place)
    return Names(models, methods, ordered, [run for run in ordered if run in absent])
