"""Code: a Python assignment of a list of strings."""

import ast
import warnings
from collections.abc import Iterator

from formsafe.core.texts import is_text
from formsafe.formats.base import Format, Kind, Traits, closings, quoted, unquoted

_START = "procedure = ["


class Code(Format):
    """The name `procedure` is assigned a list, one sentence per line."""

    name = "code"
    traits = Traits("Code", order=8, formality=7)

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Write the assignment; escape sequences belong to the content."""
        for number, sentence in enumerate(sentences):
            yield ('",\n    "' if number else f'{_START}\n    "', "format")
            yield (quoted(sentence), "content")
        yield ('",\n]', "format")

    def read(self, text: str) -> list[str]:
        """Read the list of the one assignment; nothing is executed."""
        try:
            with warnings.catch_warnings(action="ignore"):  # of escape sequences that Python does not know
                body = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.refuse("is not Python")
        match body:
            case [ast.Assign(targets=[ast.Name(id="procedure")], value=ast.List(elts=items))]:
                sentences = [item.value if isinstance(item, ast.Constant) else None for item in items]
            case _:
                self.refuse("is not one assignment of a list to `procedure`")
        texts = [sentence for sentence in sentences if isinstance(sentence, str) and is_text(sentence)]
        if len(texts) != len(sentences):
            self.refuse("the list holds something other than texts")
        return texts

    def decode(self, content: str) -> str:
        """Resolve escape sequences."""
        return unquoted(content)

    def completions(self, text: str) -> Iterator[str]:
        """Close the last string and the list."""
        return closings(text[max(0, text.find(_START)) :].rstrip(), "]")

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Also allow anything before the name and after the last bracket."""
        yield from super().loose_candidates(text)
        yield text[max(0, text.find(_START)) : text.rfind("]") + 1]


FORMAT = Code()
