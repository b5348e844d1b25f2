"""The grid: every run of a study, enumerated from explicit blocks."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import product

from formsafe.config.settings.data import CorpusSettings
from formsafe.config.settings.grid import Exclusion, GridBlock, MethodSettings
from formsafe.core.records import NONE, Run


def learning_rate_id(value: float) -> str:
    """Write a learning rate as in paths: 5e-5, 1e-4, 3.5e-3. `float()` turns it back exactly."""
    return f"{Decimal(repr(value)).normalize():e}".replace("e+", "e")


def enumerate_runs(
    blocks: Iterable[GridBlock], methods: Mapping[str, MethodSettings], corpus: CorpusSettings
) -> list[Run]:
    """List the runs of all blocks in order, each once.

    Args:
        blocks: the grid.
        methods: all methods by name.
        corpus: it names the study's own training rows, by seed and number.
    """
    runs: dict[Run, None] = {}
    for block in blocks:
        for run in product_of(block, methods, corpus):
            if not any(matches(run, entry) for entry in block.exclude):
                runs.setdefault(run)
    return list(runs)


def product_of(block: GridBlock, methods: Mapping[str, MethodSettings], corpus: CorpusSettings) -> Iterator[Run]:
    """All combinations of a block, those that it excludes among them."""
    own_seed, own_number = corpus.seed, corpus.splits.train
    for model, method in product(block.models, block.methods):
        if not methods[method].trained:
            yield Run(model, method)
            continue
        # The rate is that of the adapter: stage 1 alone has none.
        alone = methods[method].soft_prompt == "only"
        rates = [NONE] if alone else [learning_rate_id(rate) for rate in block.learning_rates]
        for name, rate, number, seed in product(block.formats, rates, block.examples or [own_number], block.seeds):
            for data_seed in [seed] if block.data_seeds == "seed" else block.data_seeds or [own_seed]:
                # What equals the study's own is `none`, so that no run has a twin.
                draw = NONE if data_seed == own_seed else str(data_seed)
                yield Run(model, method, name, rate, str(seed), draw, NONE if number == own_number else str(number))


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
