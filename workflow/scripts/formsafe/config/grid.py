"""The grid: every run of a study, enumerated from explicit blocks, and the one place that writes a run's path."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product

from formsafe.config.settings.grid import Exclusion, GridBlock, MethodSettings

NONE = "none"
RUN_PATH = "model={model}/method={method}/format={format}/lr={lr}/seed={seed}"
SOFT_PROMPT_PATH = "model={model}/format={format}/seed={seed}"


@dataclass(frozen=True)
class Run:
    """One row of the grid; every field is the text that stands in paths."""

    model: str
    method: str
    format: str = NONE
    lr: str = NONE
    seed: str = NONE

    @property
    def path(self) -> str:
        """Where the run lies below `results/{study}/runs/`."""
        return RUN_PATH.format(**self.fields)

    @property
    def soft_prompt_path(self) -> str:
        """Where its soft prompt lies below `results/{study}/soft_prompts/`: all learning rates share one."""
        return SOFT_PROMPT_PATH.format(**self.fields)

    @property
    def fields(self) -> dict[str, str]:
        """The five columns that name a run in every table."""
        return {field: getattr(self, field) for field in self.__dataclass_fields__}  # asdict copies, ten times slower


def learning_rate_id(value: float) -> str:
    """Write a learning rate as it stands in paths: 5e-5, 1e-4, 3.5e-3. `float()` turns it back exactly."""
    return f"{Decimal(repr(value)).normalize():e}".replace("e+", "e")


def enumerate_runs(blocks: Iterable[GridBlock], methods: Mapping[str, MethodSettings]) -> list[Run]:
    """List the runs of all blocks in order, each once."""
    runs: dict[Run, None] = {}
    for block in blocks:
        for run in _product(block, methods):
            if not any(_matches(run, entry) for entry in block.exclude):
                runs.setdefault(run)
    return list(runs)


def idle_exclusions(block: GridBlock, methods: Mapping[str, MethodSettings]) -> list[int]:
    """Places in the block's `exclude` whose entries match none of its runs."""
    runs = list(_product(block, methods))
    return [place for place, entry in enumerate(block.exclude) if not any(_matches(run, entry) for run in runs)]


def _product(block: GridBlock, methods: Mapping[str, MethodSettings]) -> Iterable[Run]:
    for model, method in product(block.models, block.methods):
        if not methods[method].trained:
            yield Run(model, method)
            continue
        for name, rate, seed in product(block.formats, block.learning_rates, block.seeds):
            yield Run(model, method, name, learning_rate_id(rate), str(seed))


def _matches(run: Run, entry: Exclusion) -> bool:
    rate, seed = entry.learning_rate, entry.seed
    named = {
        **{"model": entry.model, "method": entry.method, "format": entry.format},
        **{"lr": None if rate is None else learning_rate_id(rate), "seed": None if seed is None else str(seed)},
    }
    return all(wanted in (None, run.fields[key]) for key, wanted in named.items())


def adapter_run(run: Run, methods: Mapping[str, MethodSettings]) -> Run | None:
    """The run whose adapter `run` answers with: its own, another method's, or none."""
    method = methods[run.method]
    if not method.trained:
        return None
    return replace(run, method=method.adapter_of or run.method)
