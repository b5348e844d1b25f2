"""The grid: every run of a study, enumerated from explicit blocks."""

from collections.abc import Iterable, Iterator, Mapping
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

    def fields(self, data_seed: int, examples: int) -> dict[str, str]:
        """A run's fields for these rows; what equals the study's own is `none`, so that no run has a twin."""
        return {
            "data_seed": NONE if data_seed == self.data_seed else str(data_seed),
            "examples": NONE if examples == self.examples else str(examples),
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
        for run in product_of(block, methods, own):
            if not any(matches(run, entry) for entry in block.exclude):
                runs.setdefault(run)
    return list(runs)


def product_of(block: GridBlock, methods: Mapping[str, MethodSettings], own: Draw) -> Iterator[Run]:
    """All combinations of a block, those that it excludes among them."""
    for model, method in product(block.models, block.methods):
        if not methods[method].trained:
            yield Run(model, method)
            continue
        # The rate is that of the adapter: stage 1 alone has none.
        alone = methods[method].soft_prompt == "only"
        rates = [NONE] if alone else [learning_rate_id(rate) for rate in block.learning_rates]
        for name, rate, examples, seed in product(block.formats, rates, block.examples or [own.examples], block.seeds):
            for data_seed in [seed] if block.data_seeds == "seed" else block.data_seeds or [own.data_seed]:
                yield Run(model, method, name, rate, str(seed), **own.fields(data_seed, examples))


def matches(run: Run, entry: Exclusion) -> bool:
    """Whether a run has everything that an entry of `exclude` names."""
    named = entry.model_dump(exclude_none=True)
    if entry.learning_rate is not None:
        named["lr"] = learning_rate_id(named.pop("learning_rate"))
    return all(str(wanted) == run.fields[key] for key, wanted in named.items())


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
