"""Filling the judge prompt: the instruction and the answer are data and can neither end their block nor add to it."""

import re

from formsafe.core.errors import FormsafeError

PLACEHOLDERS = ("{instruction}", "{answer}")
# Everything that str.splitlines, a tokenizer or a reader might take for a new line.
LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
# These take the place of special tokens while a prompt is encoded (see `chat`); in a text they mean nothing.
_PRIVATE = re.compile("[\U000f0000-\U0010ffff]")


def check_template(template: str) -> None:
    """Raise FormsafeError unless each placeholder is in `template` exactly once."""
    for placeholder in PLACEHOLDERS:
        if (count := template.count(placeholder)) != 1:
            raise FormsafeError(f"The judge prompt holds {placeholder} {count} times; it must hold it once.")


def fill(template: str, instruction: str, answer: str) -> str:
    """Fill `template`; every line of both texts is quoted with `> `, so that neither can leave its block."""
    check_template(template)
    texts = {"{instruction}": quote(instruction), "{answer}": quote(answer)}
    # in one pass: a placeholder's name in one of the texts is not filled again
    return re.sub("|".join(texts), lambda found: texts[found[0]], template)


def quote(text: str) -> str:
    """Put `> ` before every line of `text`; private characters, which could not be encoded, become U+FFFD."""
    return "\n".join("> " + line for line in LINE_BREAK.split(_PRIVATE.sub("\ufffd", text)))
