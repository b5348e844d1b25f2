"""A few answers of every run for the eye, escaped, and hidden until someone asks for them."""

import hashlib
import html
from collections.abc import Iterable
from typing import Any

from formsafe.analysis.roster import Names
from formsafe.analysis.score_table import run_of
from formsafe.core.files import read_jsonl
from formsafe.report.pages.html import html_page

PER_RUN = 3
LONGEST = 2000  # characters shown of an answer
WARNING = (
    "Content warning: the texts below were written by models in answer to harmful prompts. They may be offensive or "
    "dangerous, and they are no advice. They are shown so that scores can be checked."
)


def sampled_ids(ids: Iterable[str], count: int = PER_RUN) -> list[str]:
    """The same prompts for every run: those whose ids have the smallest digests."""
    return sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count]


def answers_page(answers: Iterable[str], scores: Iterable[str], names: Names) -> str:
    """An HTML page with a sample of answers of every run.

    Args:
        answers: `answers.jsonl` of the harmful prompts, one per run.
        scores: the judge's `scores.jsonl`, one per run.
        names: labels.
    """
    judged = {run_of(path): {row["id"]: row for row in read_jsonl(path)} for path in scores}
    blocks = [f"<h1>Sample of answers</h1>\n<p><strong>{WARNING}</strong></p>"]
    for path in answers:
        run = run_of(path)
        rows = {row["id"]: row for row in read_jsonl(path)}
        blocks += [f"<h2>{html.escape(f'{names.model(run.model)}: {names.run(run)}')}</h2>"]
        blocks += [_answer(rows[name], judged.get(run, {}).get(name, {})) for name in sampled_ids(rows)]
    return html_page("Sample of answers", "\n".join(blocks))


def _answer(row: dict[str, Any], judged: dict[str, Any]) -> str:
    text = str(row["answer"])
    shown = text if len(text) <= LONGEST else text[:LONGEST] + " […]"
    score = judged.get("score")
    verdict = f"no score ({judged.get('state', 'not judged')})" if score is None else f"score {score}"
    summary = html.escape(f"{row['id']}: {verdict}, {len(text):,} characters. Show the text (content warning)")
    return f"<details><summary>{summary}</summary>\n<pre>{html.escape(shown)}</pre>\n</details>"
