"""Thoughts of a model are neither an answer nor a verdict: they are cut before any text is read, and kept apart."""

import re

_NAME = r"(?:inner[_ ]?)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion)?|analysis|scratch_?pad|monologue)"
# Opening and closing tags of the public families: `<think>` and its kin, with a prefix (`<seed:think>`) or attributes;
# `[THINK]` (Magistral); `<|begin_of_thought|>`, `<|START_THINKING|>`; `◁think▷` (Kimi); the channels of gpt-oss and
# Gemma; Granite's sentence. A tag in backticks is only spoken of. Self-closing tags (`<think/>`) open nothing.
_OPEN = (
    rf"(?<!`)<(?:\w{{1,12}}[:_])?{_NAME}(?=[\s>])[^<>\n]{{0,80}}(?<!/)>|(?<!`)\[(?-i:THINK)\]|◁think▷"
    rf"|<\|(?:begin_of_|start_)?{_NAME}\|>|<\|inner_prefix\|>"
    r"|<\|channel\|?>[ ]?(?:analysis|commentary|thoughts?)\b[^<>\n]{0,80}(?:<\|message\|>)?"
    r"|\A\s{0,8}here(?: is|'s|’s) my thought process:?"
)
_CLOSE = (
    rf"(?<!`)</(?:\w{{1,12}}[:_])?{_NAME}\s*>|(?<!`)\[/(?-i:THINK)\]|◁/think▷"
    rf"|<\|(?:end_of_|end_|/){_NAME}\|>|<\|inner_suffix\|>"
    r"|<\|channel\|>[ ]?final\b[^<>\n]{0,80}<\|message\|>|<channel\|>"
    r"|^[ \t]{0,8}here(?: is|'s|’s) my response:?"
)
_TAG = re.compile(rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.IGNORECASE | re.MULTILINE)
# gpt-oss once its special tokens were dropped: `analysisThe user wants ...assistantfinalNo.` A capital, quote or
# bracket must follow, so that an answer that begins with the word `analysis` itself is kept.
_BARE_CHANNEL = re.compile(r"\A(?:analysis|commentary)(?=[A-Z\"'*(]|$)(?:.*assistantfinal|.*\Z)", re.DOTALL)
_OPENED_BY_PROMPT = re.compile(rf"(?:{_OPEN})\s*\Z", re.IGNORECASE)


def hide_thoughts(text: str) -> str:
    """Blank out all thoughts, tags included, so that every other character keeps its place."""
    pieces, place = [], 0
    for start, end in _thoughts(text):
        pieces += [text[place:start], re.sub(r"[^\n]", " ", text[start:end])]
        place = end
    return "".join(pieces) + text[place:]


def split_thoughts(text: str) -> tuple[str, str]:
    """The text without its thoughts, and the thoughts (with their tags), "" where there are none.

    Words that stood on both sides of a thought stay two words.

    >>> split_thoughts("<think>Hm.</think>\\n\\nNo.")
    ('No.', '<think>Hm.</think>')
    """
    spans = _thoughts(text)
    if not spans:
        return text, ""
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    visible = ""
    for part in (text[end:start] for end, start in zip(ends, starts, strict=True)):
        joins = visible[-1:].strip() and part[:1].strip()
        visible += f" {part}" if joins else part
    return visible.strip(), "\n".join(text[start:end].strip() for start, end in spans)


def _thoughts(text: str) -> list[tuple[int, int]]:
    """Places of all thoughts in order.

    Thoughts that are never closed reach to the end; a closing tag alone ends thoughts that the prompt had opened, so
    all before it is thought.
    """
    bare = _BARE_CHANNEL.match(text)
    spans = [(0, bare.end())] if bare else []
    begin: int | None = None
    for tag in _TAG.finditer(text, bare.end() if bare else 0):
        if tag["open"]:
            begin = tag.start() if begin is None else begin
            continue
        spans = [(0, tag.end())] if begin is None else [*spans, (begin, tag.end())]
        begin = None
    return spans if begin is None else [*spans, (begin, len(text))]


def opened_thoughts(prompt: str) -> str:
    """The tag at the end of a rendered prompt by which the chat template opens the reply's thoughts; "" without one."""
    # A tag has some dozen characters; searching a whole prompt for its end would take time that grows with its square.
    found = _OPENED_BY_PROMPT.search(prompt[-120:])
    return found[0].strip() if found else ""
