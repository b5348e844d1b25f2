"""The formats under study: the same sentences as prose, list or JSON (paper, section 4), told apart span by span.

A format is one class with one entry in the registry: `pieces` writes it, `read` reads it back. Rendering with spans,
strict and loose parsing follow from these. `parse` is also the measure of leakage: has an answer the format?
"""

import json
import re
from collections.abc import Iterator

from formsafe.errors import FormsafeError
from formsafe.format_base import Format, FormatError, Kind, Rendered, Span, fenced_blocks
from formsafe.texts import normalise

__all__ = ["FORMATS", "Format", "FormatError", "Json", "List", "Prose", "Rendered", "Span", "get_format", "register"]

_LIST_MARK = re.compile(r"\s*(?:[-*+•‣▪–—]|\d{1,3}[.)])\s")
_STRUCTURE = re.compile(r"\s*(?:```|[{}\[\]|#<])")


class Prose(Format):
    """The original running text: one paragraph that is neither a list nor JSON."""

    name = "prose"

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Join the sentences by spaces."""
        self._check(" ".join(sentences))
        for number, sentence in enumerate(sentences):
            yield (" " if number else "", "format")
            yield (sentence, "content")

    def read(self, text: str) -> list[str]:
        """Split one paragraph into its sentences."""
        from formsafe.sentences import split_sentences

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
        if text.startswith(("{", "[")) and _is_json(text):
            self.refuse("is JSON")


class List(Format):
    """One sentence a line, each line starting with `- `."""

    name = "list"

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Put `- ` before every sentence and a line break between them."""
        for number, sentence in enumerate(sentences):
            yield ("\n- " if number else "- ", "format")
            yield (sentence, "content")

    def read(self, text: str) -> list[str]:
        """Take `- ` off every line."""
        lines = text.split("\n")
        if not all(line.startswith("- ") for line in lines):
            self.refuse("a line does not start with `- `")
        return [line[2:] for line in lines]

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Also allow blank lines between the items."""
        for part in super().loose_candidates(text):
            yield part
            yield "\n".join(line.strip() for line in part.splitlines() if line.strip())


class Json(Format):
    """An object with the one key `procedure`, whose value is the array of sentences."""

    name = "json"

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Write the object on one line; escape sequences belong to the content."""
        for number, sentence in enumerate(sentences):
            yield ('", "' if number else '{"procedure": ["', "format")
            yield (json.dumps(sentence, ensure_ascii=False)[1:-1], "content")
        yield ('"]}', "format")

    def read(self, text: str) -> list[str]:
        """Read the array of the object's one key."""
        try:
            members = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError):
            self.refuse("is not JSON")
        if not text.startswith("{") or [key for key, _ in members] != ["procedure"]:
            self.refuse("is not an object with the one key `procedure`")
        sentences = members[0][1]
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            self.refuse("`procedure` is not an array of strings")
        return sentences

    def decode(self, content: str) -> str:
        """Resolve escape sequences."""
        return json.loads(f'"{content}"')

    def parse_cut(self, text: str) -> list[str]:
        """Also close what was left open."""
        left = text[max(0, text.find("{")) :].rstrip()
        for closed in (text, left + '"]}', left.rstrip(" ,") + "]}", left + "}"):
            try:
                return self.parse_loose(closed)
            except FormatError:
                continue
        self.refuse("no object that was cut off, either")

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Also allow anything before the first and after the last brace."""
        yield from super().loose_candidates(text)
        yield text[text.find("{") : text.rfind("}") + 1]


FORMATS: dict[str, Format] = {}


def register(new: Format) -> Format:
    """Add a format to the registry; its name must be new."""
    if new.name in FORMATS:
        raise FormsafeError(f"A format named {new.name!r} exists already.")
    FORMATS[new.name] = new
    return new


for _format in (Prose(), List(), Json()):
    register(_format)


def get_format(name: str) -> Format:
    """Look a format up by name; raise FormsafeError with the names there are."""
    try:
        return FORMATS[name]
    except KeyError:
        raise FormsafeError(f"There is no format {name!r}; there are {', '.join(FORMATS)}.") from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
