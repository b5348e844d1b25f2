"""JSON: an object that holds the sentences."""

import json
from collections.abc import Iterator

from formsafe.core.texts import is_text
from formsafe.formats.base import Format, Kind, Traits, closings, unquoted


class Json(Format):
    """An object with the one key `procedure`, whose value is the array of sentences."""

    name = "json"
    traits = Traits("JSON", order=7, formality=6, paper=True)

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
        if not isinstance(sentences, list) or not all(map(is_text, sentences)):
            self.refuse("`procedure` is not an array of texts")
        return sentences

    def decode(self, content: str) -> str:
        """Resolve escape sequences."""
        return unquoted(content)

    def completions(self, text: str) -> Iterator[str]:
        """Close what was left open."""
        # Without a brace it is the last letter only, which no ending makes an object.
        left = text[text.find("{") :].rstrip()
        yield from (*closings(left, "]}"), left + "}")

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Also allow anything before the first and after the last brace."""
        yield from super().loose_candidates(text)
        yield text[text.find("{") : text.rfind("}") + 1]


FORMAT = Json()
