"""Tables and pages as HTML that loads nothing and runs nothing."""

import html

import pandas as pd

from formsafe.report.tables.write import texts

STYLE = (
    "<style>body{font:14px/1.5 system-ui,sans-serif;margin:1.5em;color:#222}table{border-collapse:collapse}"
    "th,td{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left}th{border-bottom:2px solid #222}"
    "caption{text-align:left;padding-bottom:.6em;max-width:60em}</style>"
)


def html_table(frame: pd.DataFrame, caption: str) -> str:
    """An HTML table with its caption, escaped."""
    body: str = texts(frame).to_html(index=False, border=0)
    return body.replace(">", f">\n<caption>{html.escape(caption)}</caption>", 1)


def html_page(title: str, body: str) -> str:
    """A page around an escaped title and body."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{title}</title>{STYLE}</head>\n<body>\n{body}\n</body></html>\n"
    )
