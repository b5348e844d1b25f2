"""The grid: every run of a study, enumerated from explicit blocks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product

from formsafe.config.settings.grid import Exclusion, GridBlock, MethodSettings
from formsafe.core.records import NONE, Run


@dataclass(frozen=True)
class Draw:
    """The study's own training rows: `corpus.seed` and `corpus.splits.train`."""

    data_seed: int
    examples: int

    def fields(self, data_seed: int | None, examples: int | None) -> dict[str, str]:
        """A run's fields for these rows; what equals the study's own is `none`, so that no run has a twin."""
        return {
            "data_seed": NONE if data_seed in (None, self.data_seed) else str(data_seed),
            "examples": NONE if examples in (None, self.examples) else str(examples),
        }


def learning_rate_id(value: float) -> str:
    """Write a learning rate as in paths: 5e-5, 1e-4, 3.5e-3. `float()` turns it back exactly."""
    return f"{Decimal(repr(value)).normalize():e}".replace("e+", "e")


def enumerate_runs(blocks: Iterable[GridBlock], methods: Mapping[str, MethodSettings], own: Draw) -> list[Run]:
    """List the runs of all blocks in order, each once.

    Args:
        blocks: the grid.
        methods: all methods by name.
        own: the study's own training rows.
    """
    runs: dict[Run, None] = {}
    for block in blocks:
        for run in _product(block, methods, own):
            if not any(_matches(run, entry) for entry in block.exclude):
                runs.setdefault(run)
    return list(runs)


def idle_exclusions(block: GridBlock, methods: Mapping[str, MethodSettings], own: Draw) -> list[int]:
    """Places in the block's `exclude` whose entries match none of its runs."""
    runs, idle = list(_product(block, methods, own)), []
    for place, entry in enumerate(block.exclude):
        if not any(_matches(run, entry) for run in runs):
            idle.append(place)
    return idle


def _product(block: GridBlock, methods: Mapping[str, MethodSettings], own: Draw) -> Iterable[Run]:
    for model, method in product(block.models, block.methods):
        if not methods[method].trained:
            yield Run(model, method)
            continue
        # The rate is that of the adapter: stage 1 alone has none.
        alone = methods[method].soft_prompt == "only"
        rates = [NONE] if alone else [learning_rate_id(rate) for rate in block.learning_rates]
        for name, rate, examples, seed in product(block.formats, rates, _or_none(block.examples), block.seeds):
            for data_seed in _data_seeds(block, seed):
                yield Run(model, method, name, rate, str(seed), **own.fields(data_seed, examples))


def _or_none(values: Sequence[int]) -> Sequence[int | None]:
    """Values of an optional axis; None alone: the study's own."""
    return tuple(values) or (None,)


def _data_seeds(block: GridBlock, seed: int) -> Sequence[int | None]:
    """Seeds of the draw of rows for a training with `seed`; None: the study's own."""
    if block.data_seeds == "seed":
        return (seed,)
    return _or_none(block.data_seeds)


def _matches(run: Run, entry: Exclusion) -> bool:
    rate, seed = entry.learning_rate, entry.seed
    named = {"model": entry.model, "method": entry.method, "format": entry.format}
    named |= {"lr": None if rate is None else learning_rate_id(rate), "seed": None if seed is None else str(seed)}
    return all(wanted in (None, run.fields[key]) for key, wanted in named.items())


def adapter_run(run: Run, methods: Mapping[str, MethodSettings]) -> Run | None:
    """The run whose adapter `run` answers with: its own (trained or projected), another method's, or none."""
    method = methods[run.method]
    if not method.trained or method.soft_prompt == "only":
        return None
    if method.projection is not None:
        return run
    return replace(run, method=method.adapter_of or run.method)


def tuned_run(run: Run, methods: Mapping[str, MethodSettings]) -> Run | None:
    """A run of the format whose stage-1 soft prompt `run` needs, or None: all runs of that format share the prompt.

    A random prompt needs the tuned one of its own format for the lengths of its vectors.
    """
    prompt = methods[run.method].soft_prompt
    if prompt is None or prompt == "joint":
        return None
    return run if isinstance(prompt, str) else replace(run, format=prompt.of["format"])
