"""What every format has: rendering with spans, strict parsing, loose parsing of answers."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

from formsafe.core.errors import FormsafeError
from formsafe.core.texts import normalise

Kind = Literal["content", "format"]


class Span(NamedTuple):
    """The characters `text[start:end]` and their kind."""

    start: int
    end: int
    kind: Kind


class FormatError(FormsafeError):
    """A text does not have the format, or sentences cannot be written in it."""


@dataclass(frozen=True)
class Rendered:
    """A text and the spans that cover it exactly, in order: one of content for each sentence, format all the rest.

    Example: the sentences "Fill it." and "Wipe it." as a list are `- Fill it.\\n- Wipe it.` with the spans
    (0, 2, format), (2, 10, content), (10, 13, format), (13, 21, content).
    """

    text: str
    spans: list[Span]


@dataclass(frozen=True)
class Traits:
    """What other stages must know of a format, so that none of them knows a format by its name.

    Args:
        label: its name in figures, tables and text.
        order: its place in figures and tables, from the left.
        formality: rank by structural constraints, 0 for running text; equal ranks are ties (paper, section 2.2).
        plain: whether it is running text without marks, so that any text can be read as it and cannot leak into it.
        paper: whether it is one of the paper's formats, which every study looks for in answers.
    """

    label: str
    order: float
    formality: float
    plain: bool = False
    paper: bool = False


class Format(ABC):
    """One way to write down a list of sentences."""

    name: str
    traits: Traits

    @abstractmethod
    def pieces(self, sentences: list[str]) -> Iterable[tuple[str, Kind]]:
        """Write `sentences` as consecutive pieces of text, each content or format."""

    @abstractmethod
    def read(self, text: str) -> list[str]:
        """Read the sentences of a text that has this format; raise FormatError if it has not."""

    def arranged(self, sentences: Sequence[str]) -> list[str]:
        """The order in which the format writes `sentences`; reading gives them in this order."""
        return list(sentences)

    def decode(self, content: str) -> str:
        """Give the plain characters of one content piece (where the format has escape sequences)."""
        return content

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Give the parts of an answer that may have the format on their own."""
        yield from fenced_blocks(text)
        yield from without_surroundings(text)

    def render(self, sentences: list[str]) -> Rendered:
        """Write `sentences` in this format.

        Raises:
            FormatError: no sentences, a sentence that is not normalised text (see `check_sentences`), or sentences that
                would be read as another format.
        """
        check_sentences(sentences)
        text: list[str] = []
        spans: list[Span] = []
        end = 0
        for piece, kind in self.pieces(sentences):
            if piece:
                text.append(piece)
                spans.append(Span(end, end + len(piece), kind))
                end += len(piece)
        return Rendered("".join(text), spans)

    def parse(self, text: str) -> list[str]:
        """Read the sentences of `text`, all of which (but white space at its edges) must have this format.

        Raises:
            FormatError: it has not.
        """
        sentences = self.read(text.strip())
        if not sentences or not all(map(str.strip, sentences)):
            self.refuse("no sentences, or empty ones")
        return sentences

    def parse_loose(self, text: str) -> list[str]:
        """Like `parse`, but allow a code fence, a lead-in and a closing remark around the part that has the format.

        Raises:
            FormatError: no part of it has the format.
        """
        found = first_reading((self.parse, candidate) for candidate in (text, *self.loose_candidates(text.strip())))
        return found or self.refuse("nor has any part of it")

    def completions(self, text: str) -> Iterator[str]:
        """Give ways to complete a text whose end is missing, for formats that a part of a text does not have."""
        yield from ()

    def parse_cut(self, text: str) -> list[str]:
        """Like `parse_loose`, but the end of the text may be missing: its last sentence may be a part of one.

        Raises:
            FormatError: no part of it has the format.
        """
        found = first_reading((self.parse_loose, closed) for closed in (text, *self.completions(text)))
        return found or self.refuse("nor has any part of it, completed")

    def refuse(self, reason: str) -> NoReturn:
        """Raise FormatError in the name of this format."""
        raise FormatError(f"not in the format {self.name}: {reason}")


def first_reading(attempts: Iterable[tuple[Callable[[str], list[str]], str]]) -> list[str] | None:
    """The sentences that the first successful attempt reads; None where no attempt succeeds.

    Args:
        attempts: pairs of a parsing method and a text.
    """
    for read, text in attempts:
        try:
            return read(text)
        except FormatError:
            continue
    return None


def check_sentences(sentences: list[str]) -> None:
    """Raise FormatError unless there are sentences and each is text with single spaces only, between words.

    So no sentence holds a line break, and every line-based format can be read back.
    """
    if not sentences:
        raise FormatError("no sentences")
    for number, sentence in enumerate(sentences, start=1):
        if not sentence or sentence != normalise(sentence):
            raise FormatError(f"sentence {number} is empty or has line breaks, tabs or repeated or edge spaces")


# Lines between two lines of three backticks; the first may name a language. Not greedy: two fences are two blocks.
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


def fenced_blocks(text: str) -> Iterator[str]:
    """Give the insides of Markdown code fences."""
    return (block.group(1) for block in _FENCE.finditer(text))


def without_surroundings(text: str) -> Iterator[str]:
    """Give the text without its first line or paragraph (a lead-in), its last paragraph (a remark), or both."""
    # A line of blanks ends a paragraph, too: models often write one.
    paragraphs = re.split(r"\n[ \t]*\n", text)
    for body in ("\n\n".join(paragraphs[:end]) for end in range(len(paragraphs), max(0, len(paragraphs) - 2), -1)):
        yield body
        yield body.partition("\n")[2]


# Characters that YAML, Python and editors do not take literally, beside those that JSON escapes.
_UNPRINTABLE = re.compile("[\x7f-\x9f\ufeff\ufffe\uffff]")
# The end of a text that was cut inside an escape sequence (`\\u00`), or between the two that make one character: the
# first of such a pair is D800 to DBFF (high surrogate), and alone it is no character.
_CUT_ESCAPE = re.compile(r"(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?$")

# A text that was cut after one string of an array and before the next.
_CUT_BETWEEN = re.compile(r',\s*"?$')


def quoted(sentence: str) -> str:
    """The inside of a double-quoted string that JSON, YAML and Python read alike."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(sentence, ensure_ascii=False)[1:-1])


def unquoted(content: str) -> str:
    """The characters of such a string."""
    return str(json.loads(f'"{content}"'))


def closings(left: str, end: str) -> Iterator[str]:
    """Ways to complete a text that was cut in an array of double-quoted strings, which `end` closes.

    It was cut within a string, in one of its escape sequences, or between two strings.
    """
    yield f'{left}"{end}'
    yield f'{_CUT_ESCAPE.sub("", left)}"{end}'
    yield _CUT_BETWEEN.sub("", left) + end
