"""What counts as the same text, and the digests by which texts are named."""

import hashlib
import unicodedata
from collections.abc import Iterable


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
