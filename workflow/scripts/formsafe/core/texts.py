"""What counts as the same text, the digests by which texts are named, and texts of strangers made fit to be shown."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

# A terminal obeys control characters (an escape sequence can rewrite what was shown before, or the clipboard), marks
# of writing direction show a text in another order, and UTF-8 cannot hold lone surrogates. Tab and line feed stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# `\\u3042`: how programs write other letters than ASCII where they show a text as JSON.
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})", re.IGNORECASE)
# What Markdown reads as markup inside a line or a table's cell.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~$&])")


def normalise(text: str) -> str:
    """Make every run of white space (line breaks, tabs, no-break spaces) one space and drop it at the edges."""
    return " ".join(text.split())


def sameness(text: str) -> str:
    """The key under which two texts count as the same: compatible characters, letter case and white space aside."""
    return normalise(unicodedata.normalize("NFKC", text).casefold())


def content_digest(texts: Iterable[str]) -> str:
    """SHA-256 (hex) over texts in order, whatever container they came in: NFC, white space normalised, one per line."""
    return sha256("\n".join(normalise(unicodedata.normalize("NFC", text)) for text in texts))


def sha256(text: str) -> str:
    """SHA-256 (hex) of `text` in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_text(value: object) -> bool:
    """Whether `value` is a string that UTF-8 can hold (JSON may bring lone surrogates)."""
    return isinstance(value, str) and _SURROGATE.search(value) is None


def printable(text: str) -> str:
    """`text` for a terminal or a log: control characters spelt out (`\\x1b`), a carriage return as a line break."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", lines)


def one_line(text: str) -> str:
    """`text` as a label, title or name: one line without control characters."""
    return normalise(_CONTROL.sub(" ", text))


def is_one_line(text: str) -> bool:
    """Whether a label or title is fit for every output as it is."""
    return _CONTROL.search(text) is None and not set(text) & {"\n", "\t"}


def overlapping(lines: Sequence[str], texts: Iterable[str], letters: int) -> set[int]:
    """Numbers of the lines that may repeat a part of a text.

    Args:
        lines: what is to be shown.
        texts: what is not to be shown, not even in part.
        letters: a line is found that has so many letters and digits in a row with a text (case, white space and
            punctuation aside), or all of a shorter text of at least six, or too few to tell.
    """
    plain = [letters_of(line) for line in lines]
    places: dict[str, set[int]] = {}
    for number, line in enumerate(plain):
        for piece in _pieces(line, letters):
            places.setdefault(piece, set()).add(number)
    found = {number for number, line in enumerate(plain) if len(line) < letters}
    for text in map(letters_of, texts):
        # A shorter text, such as `yes`, is in nearly every line: all would count as repeating it.
        if 6 <= len(text) < letters:
            found |= {number for number, line in enumerate(plain) if text in line}
        for piece in _pieces(text, letters) & places.keys():
            found |= places[piece]
    return found


def letters_of(text: str) -> str:
    """The letters and digits of `text`, case aside: what is left of it whatever a log, a page or JSON does to it."""
    unescaped = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return "".join(character for character in unescaped.casefold() if character.isalnum())


def _pieces(text: str, length: int) -> set[str]:
    return {text[start : start + length] for start in range(len(text) - length + 1)}


def escape_markdown(text: str) -> str:
    """`text` as plain text in a line or table cell of Markdown."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def escape_csv(text: str) -> str:
    """`text` so that no spreadsheet takes it for a formula, which could call programs (`=cmd|...`)."""
    # Spreadsheets take the apostrophe for "this is text" and do not show it.
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") else text
