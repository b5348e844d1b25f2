"""What counts as the same text, the digests by which texts are named, and texts of strangers made fit to be shown."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

# A terminal obeys control characters (an escape sequence can rewrite what was shown before, or the clipboard), marks
# of writing direction show a text in another order, and UTF-8 cannot hold lone surrogates. Tab and line feed stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What Markdown reads as markup inside a line or a table's cell.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~$&])")


def normalise(text: str) -> str:
    """Make every run of white space (line breaks, tabs, no-break spaces) one space and drop it at the edges."""
    return " ".join(text.split())


def sameness(text: str) -> str:
    """The key under which two texts count as the same: compatible characters, letter case and white space aside."""
    return normalise(unicodedata.normalize("NFKC", text).casefold())


def content_digest(texts: Iterable[str]) -> str:
    """SHA-256 (hex) over texts in order, whatever container they came in: NFC, white space normalised, one a line."""
    return sha256("\n".join(normalise(unicodedata.normalize("NFC", text)) for text in texts))


def sha256(text: str) -> str:
    """SHA-256 (hex) of `text` in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_text(value: object) -> bool:
    """Whether `value` is a string that UTF-8 can hold (JSON may bring lone surrogates)."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def escape_markdown(text: str) -> str:
    """`text` as plain text in a line or table cell of Markdown."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def escape_csv(text: str) -> str:
    """`text` so that no spreadsheet takes it for a formula, which could call programs (`=cmd|...`)."""
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") else text
