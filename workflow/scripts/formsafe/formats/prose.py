"""Prose: running text, as the corpus has it."""

import json
import re
from collections.abc import Iterator

from formsafe.core.texts import normalise
from formsafe.formats.base import Format, Kind, Traits, fenced_blocks

# Marks of list items. With the blank behind: `-5 degrees` and `1.5 litres` open running text as well.
_LIST_MARK = re.compile(r"\s*(?:[-*+•‣▪–—]|\d{1,3}[.)])\s")
# The start of JSON that may have been cut: whole JSON is found by reading it.
_JSON_START = re.compile(r"[{\[]\s*(?:\"|$)")
# A tag without attributes, as the format `xml` writes: `<3 degrees` is running text.
_XML_START = re.compile(r"<\w+>")
# Fences, brackets, tables, headings and tags at the start of a line: no running text, however it goes on.
_STRUCTURE = re.compile(r"\s*(?:```|[{}\[\]|#<])")


class Prose(Format):
    """The original running text: one paragraph that is neither a list nor JSON."""

    name = "prose"
    traits = Traits("Prose", order=0, formality=0, plain=True, paper=True)

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Join the sentences by spaces."""
        self._check(" ".join(sentences))
        for number, sentence in enumerate(sentences):
            yield (" " if number else "", "format")
            yield (sentence, "content")

    def read(self, text: str) -> list[str]:
        """Split one paragraph into its sentences."""
        from formsafe.formats.sentences import split_sentences

        self._check(text)
        return split_sentences(normalise(text))

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Allow several lines and paragraphs without any structure."""
        for part in (*fenced_blocks(text), text):
            lines = [line for line in part.splitlines() if line.strip()]
            if not any(_LIST_MARK.match(line) or _STRUCTURE.match(line) for line in lines):
                yield " ".join(lines)

    def _check(self, text: str) -> None:
        if len(text.splitlines()) > 1:
            self.refuse("more than one line")
        if _LIST_MARK.match(text):
            self.refuse("starts like a list")
        if _JSON_START.match(text) or (text.startswith(("{", "[")) and _is_json(text)):
            self.refuse("is JSON, or a part of it")
        if _XML_START.match(text):
            self.refuse("starts like XML")


FORMAT = Prose()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
