"""All figures of one model."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context

from formsafe.report.figures.style import RC, save
from formsafe.report.registry import entry_of
from formsafe.report.results import Results


def plot_figures(results: Results, model: str, outputs: Sequence[str]) -> None:
    """Draw and write figures of a model; `outputs` are files `{figure}_{model}.{svg,png,pdf}`."""
    groups: dict[str, list[str]] = {}
    for path in outputs:
        groups.setdefault(Path(path).stem.removesuffix(f"_{model}"), []).append(path)
    with rc_context(RC):
        for name, paths in groups.items():
            save(entry_of("figures", paths[0], name).make(results, model), paths)
