"""Tables as CSV, Markdown and LaTeX (booktabs, longtable); cells are numbers and names, never a model's text."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.score_table import write_table
from formsafe.core.files import write_text
from formsafe.core.texts import escape_csv, escape_markdown
from formsafe.report.registry import Entry, entry_of
from formsafe.report.results import Results

EMPTY = "–"
# Each letter is replaced once, so that no replacement's own backslash or brace is replaced again.
SIGNS = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_"}
SIGNS |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
SIGNS |= {"≥": r"$\geq$", "–": "--", "[": "{[}", "]": "{]}"}  # `[` after a row's end would be its option
_TABLE = str.maketrans(SIGNS)
LATIN = 0x24F  # the last letter that pdfLaTeX's fonts have
HEAD = "% Needs \\usepackage{booktabs,longtable,graphicx,pdflscape}.\n"
UNICODE = "% Labels in other scripts: compile with LuaLaTeX or XeLaTeX and a font that has them (\\setmainfont).\n"


def write_tables(results: Results, outputs: Sequence[str]) -> None:
    """Write the tables that `outputs` names: files `{table}.{csv,md,tex}`."""
    made: dict[str, pd.DataFrame] = {}
    for path in outputs:
        entry = entry_of("tables", path, Path(path).stem)
        if entry.name not in made:
            made[entry.name] = entry.make(results)
        WRITERS[Path(path).suffix](entry, made[entry.name], entry.caption.format(**results.words), path)


def shown(cell: Any) -> str:
    """A cell as a reader sees it: numbers with three significant digits; unknown values are a dash."""
    if isinstance(cell, Estimate):
        if math.isnan(cell.low) or math.isnan(cell.value):
            return shown(cell.value)
        return f"{shown(cell.value)} [{shown(cell.low)}, {shown(cell.high)}]"
    if isinstance(cell, int):
        return f"{cell:,}"
    if not isinstance(cell, float):
        return EMPTY if cell is None else str(cell)
    if math.isnan(cell):
        return EMPTY
    # `#` keeps zeros at the end (0.450), but leaves a point behind whole numbers ("123.")
    return f"{cell:,.0f}" if abs(cell) >= 100 else "0" if cell == 0 else f"{cell:#.3g}"


def texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The cells as a reader sees them; a table without rows says so."""
    if frame.empty:
        return pd.DataFrame([["nothing to show", *[""] * (len(frame.columns) - 1)]], columns=frame.columns)
    return frame.map(shown)


def write_csv(entry: Entry, frame: pd.DataFrame, caption: str, path: str) -> None:
    """Write as CSV: an estimate takes three columns, its value and the ends of its interval."""
    columns: list[pd.Series] = []
    for name, column in frame.items():
        columns.append(column.map(_plain).rename(str(name)))
        if column.map(lambda cell: isinstance(cell, Estimate)).any():
            columns.append(column.map(lambda cell: getattr(cell, "low", None)).rename(f"{name} low"))
            columns.append(column.map(lambda cell: getattr(cell, "high", None)).rename(f"{name} high"))
    write_table(path, pd.concat(columns, axis=1))


def _plain(cell: Any) -> Any:
    return cell.value if isinstance(cell, Estimate) else escape_csv(cell) if isinstance(cell, str) else cell


def write_markdown(entry: Entry, frame: pd.DataFrame, caption: str, path: str) -> None:
    """Write as Markdown, the caption above; a `|` in a label would end its cell."""
    labels = frame.map(lambda cell: escape_markdown(cell) if isinstance(cell, str) else cell)
    shown = texts(labels.rename(columns=escape_markdown))
    write_text(path, f"{caption}\n\n{shown.to_markdown(index=False, tablefmt='pipe', disable_numparse=True)}\n")


def write_latex(entry: Entry, frame: pd.DataFrame, caption: str, path: str) -> None:
    """Write as a LaTeX longtable (booktabs) with its caption and label."""
    cells = texts(frame).map(escaped).rename(columns=escaped)
    write_text(path, long_table(cells, escaped(entry.title), escaped(caption), f"tab:{entry.name}"))


def escaped(text: str) -> str:
    """`text` as LaTeX prints it, letter by letter."""
    return str(text).translate(_TABLE)


def long_table(cells: pd.DataFrame, title: str, caption: str, label: str) -> str:
    """A table of escaped cells that goes over pages where it is long, in small print on a turned page where it is wide.

    Args:
        cells: escaped texts, escaped column names.
        title: escaped; the list of tables shows it in place of the caption.
        caption: escaped.
        label: for `\\ref`.
    """
    named: dict[str, Any] = {"caption": (f"{title}. {caption}", title), "label": label}
    columns = "l" * len(cells.columns)
    body = cells.to_latex(index=False, longtable=True, escape=False, column_format=columns, **named)
    # pandas repeats the whole caption on every further page
    body = body.replace(f"\\caption[]{{{title}. {caption}}}", f"\\caption[]{{{title} (continued)}}")
    wide = len(cells.columns) > 8
    size, turned = ("\\scriptsize", "landscape") if wide else ("\\small", "center")
    text = f"\\begin{{{turned}}}\n{size}\\setlength{{\\tabcolsep}}{{3pt}}\n{body}\\end{{{turned}}}\n"
    return latex_head(body) + text


def latex_head(body: str) -> str:
    return HEAD + (UNICODE if any(ord(sign) > LATIN for sign in body) else "")


WRITERS = {".csv": write_csv, ".md": write_markdown, ".tex": write_latex}
