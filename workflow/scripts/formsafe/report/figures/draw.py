"""All figures of one model."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from formsafe.analysis.curves import read_curves
from formsafe.analysis.estimates import Summary
from formsafe.analysis.paper import compare_with_paper, read_published
from formsafe.analysis.roster import Names
from formsafe.analysis.score_table import run_of
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.errors import FormsafeError
from formsafe.report.figures.bars import draw_asr, draw_asr_by_source, draw_leakage
from formsafe.report.figures.losses import draw_loss, draw_loss_split
from formsafe.report.figures.points import draw_published, draw_tradeoff
from formsafe.report.figures.style import RC, Study, save

FIGURES: dict[str, Callable[[Study], Figure]] = {
    "asr": draw_asr,
    "asr_by_source": draw_asr_by_source,
    "loss": draw_loss,
    "loss_split": draw_loss_split,
    "tradeoff": draw_tradeoff,
    "leakage": draw_leakage,
    "paper": draw_published,
}


def plot_figures(
    summary: str,
    losses: Sequence[str],
    paper: str,
    outputs: Sequence[str],
    *,
    model: str,
    names: Names,
    threshold: int,
    settings: AnalysisSettings,
) -> None:
    """Draw and write every figure of a model.

    Args:
        summary: summary.csv.
        losses: loss.csv files; those of other models are left out.
        paper: the published numbers.
        outputs: files `{figure}_{model}.{svg,png,pdf}`.
        model: name of the model.
        names: labels and roles of the planned runs.
        threshold: judge scores from here on are harmful.
        settings: level of the intervals, formats of the trade-off.
    """
    found = Summary.read(summary)
    curves = read_curves(path for path in losses if run_of(path).model == model)
    published = compare_with_paper(read_published(paper), found, names)
    study = Study(model, names, found, curves, published, threshold, settings)
    with rc_context(RC):
        for name, paths in _by_figure(outputs, model).items():
            save(FIGURES[name](study), paths)


def _by_figure(outputs: Sequence[str], model: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in outputs:
        name = Path(path).stem.removesuffix(f"_{model}")
        if name not in FIGURES:
            raise FormsafeError(f"{path}: there is no figure {name!r}; the figures are {', '.join(FIGURES)}.")
        groups.setdefault(name, []).append(path)
    return groups
