"""LaTeX: labels of the user's as plain text, tables over several pages, figures with their captions."""

from typing import Any

import pandas as pd

# `\` first: the others bring backslashes of their own.
SIGNS = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_"}
SIGNS |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
SIGNS |= {"≥": r"$\geq$", "–": "--", "[": "{[}", "]": "{]}"}  # `[` after a row's end would be its option
_TABLE = str.maketrans(SIGNS)
LATIN = 0x24F  # the last letter that pdfLaTeX's fonts have
HEAD = "% Needs \\usepackage{booktabs,longtable,graphicx,pdflscape}.\n"
UNICODE = "% Labels in other scripts: compile with LuaLaTeX or XeLaTeX and a font that has them (\\setmainfont).\n"


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
    return _head(body) + text


def figure_snippet(name: str, title: str, caption: str) -> str:
    """A figure environment around `{name}.pdf`, with caption and label."""
    body = (
        "\\begin{figure}\n\\centering\n"
        f"\\includegraphics{{{name}.pdf}}\n"
        f"\\caption{{{escaped(title)}. {escaped(caption)}}}\n\\label{{fig:{name}}}\n\\end{{figure}}\n"
    )
    return _head(body) + body


def _head(body: str) -> str:
    return HEAD + (UNICODE if any(ord(sign) > LATIN for sign in body) else "")
