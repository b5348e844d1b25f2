"""List: one sentence a line."""

from collections.abc import Iterator

from formsafe.formats.base import Format, Kind, Traits, fenced_blocks


class List(Format):
    """One sentence a line, each line starting with `- `."""

    name = "list"
    traits = Traits("List", order=3, formality=3, paper=True)

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
        """Also allow anything before the first and after the last item, and blank lines between the items."""
        for part in super().loose_candidates(text):
            yield part
            yield "\n".join(_filled_lines(part))
        for part in (*fenced_blocks(text), text):
            lines = _filled_lines(part)
            items = [number for number, line in enumerate(lines) if line.startswith("- ")]
            if items:
                yield "\n".join(lines[items[0] : items[-1] + 1])


def _filled_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


FORMAT = List()
