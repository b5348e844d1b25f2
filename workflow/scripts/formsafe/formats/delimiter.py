"""Delimiter: running text with a mark before each sentence and no other structure."""

import re
from collections.abc import Iterator

from formsafe.formats.base import Format, Kind, Traits

MARK = "•"
# A word of marks only: a sentence's own is written with one mark more, so that a single one is always the format's.
_MARKS = re.compile(rf"(?<!\S){MARK}+(?!\S)")


class Delimiter(Format):
    """One line: `• Fill it. • Wipe it.`"""

    name = "delimiter"
    traits = Traits("Delimiter", order=2, formality=1)

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Put the mark before every sentence."""
        for number, sentence in enumerate(sentences):
            yield (f"{' ' if number else ''}{MARK} ", "format")
            yield (_MARKS.sub(lambda found: found[0] + MARK, sentence), "content")

    def read(self, text: str) -> list[str]:
        """Split at the marks."""
        if not text.startswith(f"{MARK} ") or len(text.splitlines()) > 1:
            self.refuse("is not one line that starts with the mark")
        return [self.decode(part) for part in f" {text}".split(f" {MARK} ")[1:]]

    def decode(self, content: str) -> str:
        """Remove the additional mark from words of marks."""
        return _MARKS.sub(lambda found: found[0][1:], content)


FORMAT = Delimiter()
