"""All figures of one model."""

import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context

from formsafe.core.files import write_text
from formsafe.report.figures.style import RC, save
from formsafe.report.labels import check_labels, fonts_for
from formsafe.report.registry import entry_of
from formsafe.report.results import Results
from formsafe.report.tables.write import escaped, latex_head


def plot_figures(results: Results, model: str, outputs: Sequence[str]) -> None:
    """Draw and write figures of a model; `outputs` are files `{figure}_{model}.{svg,png,pdf,tex}`."""
    groups: dict[str, list[str]] = {}
    for path in outputs:
        groups.setdefault(Path(path).stem.removesuffix(f"_{model}"), []).append(path)
    names = results.names
    labels = [*names.models.values(), *map(names.method, names.methods)]
    for warning in check_labels(labels):
        print(f"warning: {warning}", file=sys.stderr)
    families, _ = fonts_for("".join(labels))
    with rc_context({**RC, "font.family": families}):
        for name, paths in groups.items():
            entry = entry_of("figures", paths[0], name)
            save(entry.make(results, model), [path for path in paths if not path.endswith(".tex")])
            title = f"{entry.title}, {names.model(model)}"
            for path in (path for path in paths if path.endswith(".tex")):
                caption = entry.caption.format(**results.words)
                write_text(path, figure_snippet(Path(path).stem, title, caption))


def figure_snippet(name: str, title: str, caption: str) -> str:
    """A figure environment around `{name}.pdf`, with caption and label."""
    body = (
        "\\begin{figure}\n\\centering\n"
        f"\\includegraphics{{{name}.pdf}}\n"
        f"\\caption{{{escaped(title)}. {escaped(caption)}}}\n\\label{{fig:{name}}}\n\\end{{figure}}\n"
    )
    return latex_head(body) + body
