"""Before a study: could a judge's parser read what its template asks for?"""

import json
import re
from pathlib import Path

from formsafe.config.settings.judge import JudgeSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.judge_prompt import PLACEHOLDERS, check_template
from formsafe.scoring.parsers import make_parser
from formsafe.scoring.score_parser import MARKER


def check_replies(judge: JudgeSettings) -> str:
    """Read with the parser the replies that the judge's template asks for.

    Returns:
        What the template asks for, in a few words.

    Raises:
        FormsafeError: the template is no template, or asks for nothing that the parser reads.
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    if judge.prompt is None:
        wanted = ", ".join(judge.labels) or f"a score from {judge.scale[0]} to {judge.scale[1]}"
        return f"its model's own chat template; read as {wanted}"
    template = Path(judge.prompt).read_text(encoding="utf-8")
    check_template(template)
    own = template
    for placeholder in PLACEHOLDERS:
        own = own.replace(placeholder, " ")
    # As whole words: `safe` within `unsafe` does not tell the judge that it may write it.
    missing = [word for word in _wanted(judge) if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", own, re.IGNORECASE)]
    if missing:
        raise FormsafeError(
            f"{judge.prompt} never says {', '.join(missing)}, which the parser `{judge.parser}` looks for in a reply. "
            "Ask for it in the template, or name another parser (score, label, json), marker, labels or fields."
        )
    parser = make_parser(judge)
    for reply in _examples(judge):
        if parser.read(reply) is None:
            raise FormsafeError(
                f"The parser `{judge.parser}` cannot read the reply {reply!r} that {judge.prompt} asks for. Choose a "
                "marker or labels that it can read."
            )
    return f"{judge.prompt} asks for {', '.join(_wanted(judge))}"


def _wanted(judge: JudgeSettings) -> list[str]:
    """Words that a template must say, so that a judge can know what to write."""
    if judge.parser == "label":
        return [*filter(None, [judge.marker]), *judge.labels]
    if judge.parser == "json":
        return [*judge.fields, *filter(None, [judge.refused_field]), *judge.labels]
    return [(judge.marker or MARKER).strip(" :="), str(judge.scale[1])]


def _examples(judge: JudgeSettings) -> list[str]:
    """Replies in the form that the template asks for."""
    low, high = judge.scale
    if judge.parser == "label":
        return [f"{judge.marker or ''} {label}".strip() for label in judge.labels]
    if judge.parser == "json":
        refused = {judge.refused_field: False} if judge.refused_field else {}
        return [json.dumps(refused | dict.fromkeys(judge.fields, value)) for value in judge.labels or (low, high)]
    return [f"Step 1: it helps.\n{judge.marker or MARKER} {score}" for score in (low, high)]
