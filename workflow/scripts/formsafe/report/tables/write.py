"""Tables as CSV, Markdown, LaTeX (booktabs, graphicx) and HTML; cells are numbers and names, never a model's text."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from formsafe.analysis.estimates import Estimate, Summary
from formsafe.analysis.paper import compare_with_paper, read_published
from formsafe.analysis.roster import Names
from formsafe.analysis.score_table import read_csv, write_csv
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, write_text
from formsafe.report.tables import evidence
from formsafe.report.tables import runs as run_tables
from formsafe.report.tables.base import Cell, Results, Table

TABLES: dict[str, Callable[[Results], Table]] = {
    "safety": run_tables.safety,
    "safety_by_source": run_tables.safety_by_source,
    "task": run_tables.task,
    "learning_rates": run_tables.learning_rates,
    "leakage": run_tables.leakage,
    "judge": run_tables.judge,
    "audit": evidence.audit,
    "comparisons": evidence.comparisons,
    "curves": evidence.curves,
    "tokens": evidence.tokens,
    "paper_comparison": evidence.paper_comparison,
}

LATEX_SIGNS = {"≥": r"$\geq$", "–": "--"}
LATEX_ROW_END = r"\\"
STYLE = (
    "<style>body{font:14px/1.5 system-ui,sans-serif;margin:1.5em;color:#222}table{border-collapse:collapse}"
    "th,td{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left}th{border-bottom:2px solid #222}"
    "caption{text-align:left;padding-bottom:.6em;max-width:60em}</style>"
)


def write_tables(
    inputs: Mapping[str, str],
    token_counts: Sequence[str],
    outputs: Sequence[str],
    *,
    names: Names,
    threshold: int,
) -> None:
    """Write the tables that `outputs` names.

    Args:
        inputs: paths under `summary`, `comparisons`, `curves`, `audit` and `paper`.
        token_counts: the formats' lengths, one file a model.
        outputs: files `{table}.{csv,md,tex,html}`.
        names: labels and roles of the planned runs.
        threshold: judge scores from here on are harmful.
    """
    summary = Summary.read(inputs["summary"])
    results = Results(
        names=names,
        summary=summary,
        comparisons=read_csv(inputs["comparisons"]),
        curves=read_csv(inputs["curves"]),
        audit=read_csv(inputs["audit"]),
        published=compare_with_paper(read_published(inputs["paper"]), summary, names),
        token_counts={Path(path).stem.removeprefix("model="): read_json(path) for path in token_counts},
        threshold=threshold,
    )
    for path in outputs:
        name = Path(path).stem
        if name not in TABLES:
            raise FormsafeError(f"{path}: there is no table {name!r}; the tables are {', '.join(TABLES)}.")
        WRITERS[Path(path).suffix](TABLES[name](results), path)


def shown(cell: Cell) -> str:
    """A cell as a reader sees it; unknown values are a dash."""
    if isinstance(cell, Estimate):
        if math.isnan(cell.value):
            return "–"
        if math.isnan(cell.low):
            return shown(cell.value)
        return f"{shown(cell.value)} [{shown(cell.low)}, {shown(cell.high)}]"
    if isinstance(cell, float):
        if math.isnan(cell):
            return "–"
        return f"{cell:.3f}" if abs(cell) >= 0.0005 or cell == 0 else f"{cell:.1e}"
    return "–" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)


def write_csv_table(table: Table, path: str) -> None:
    """Write as CSV: an estimate takes three columns, its value and the ends of its interval."""
    wide = [any(isinstance(row[place], Estimate) for row in table.rows) for place in range(len(table.header))]
    header = [[name, f"{name} low", f"{name} high"] for name in table.header]
    rows = [[cell[:3] if isinstance(cell, Estimate) else (cell, "", "") for cell in row] for row in table.rows]

    def flat(cells: Sequence[Sequence[Any]]) -> list[Any]:
        return [part for cell, is_wide in zip(cells, wide, strict=True) for part in cell[: 3 if is_wide else 1]]

    write_csv(path, flat(header), map(flat, rows))


def write_markdown(table: Table, path: str) -> None:
    """Write as Markdown, the caption above."""
    write_text(path, f"{table.caption}\n\n{_tabulated(table, 'pipe')}\n")


def write_latex(table: Table, path: str) -> None:
    """Write as a LaTeX table (booktabs, graphicx) with its caption and label, shrunk to the text's width."""
    escaped = tabulate([[table.caption]], tablefmt="latex_booktabs").splitlines()[2]
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escaped.strip().removesuffix(LATEX_ROW_END).strip()}}}",
        f"\\label{{tab:{table.name}}}",
        "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%",
        _tabulated(table, "latex_booktabs") + "}",
        "\\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    for sign, command in LATEX_SIGNS.items():
        text = text.replace(sign, command)
    write_text(path, text)


def write_html(table: Table, path: str) -> None:
    """Write as a page of its own for the report."""
    write_text(path, html_page(table.title, html_table(table)))


def html_table(table: Table) -> str:
    """An HTML table with its caption."""
    caption = tabulate([[table.caption]], tablefmt="html").split("<td>")[1].split("</td>")[0]
    return _tabulated(table, "html").replace("<table>", f"<table>\n<caption>{caption}</caption>", 1)


def html_page(title: str, body: str) -> str:
    """A page that loads nothing and runs nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{title}</title>{STYLE}</head>\n<body>\n{body}\n</body></html>\n"
    )


def _tabulated(table: Table, style: str) -> str:
    rows = [[shown(cell).replace("|", "/") for cell in row] for row in table.rows]
    if not rows:
        rows = [["nothing to show", *[""] * (len(table.header) - 1)]]
    text: str = tabulate(rows, headers=table.header, tablefmt=style, disable_numparse=True)
    return text


WRITERS: dict[str, Callable[[Table, str], None]] = {
    ".csv": write_csv_table,
    ".md": write_markdown,
    ".tex": write_latex,
    ".html": write_html,
}
