"""List: one sentence per line."""

from collections.abc import Iterator

from formsafe.formats.base import Format, Kind, Traits, fenced_blocks


class List(Format):
    """One sentence per line, each line starting with `- `."""

    name = "list"
    traits = Traits("List", order=4, formality=3, paper=True)

    def mark(self, number: int) -> str:
        """What is written before sentence `number`, counted from 0."""
        return "- "

    def is_item(self, line: str) -> bool:
        """Whether a line is an item of such a list."""
        return line.startswith("- ")

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Put the mark before every sentence and a line break between them."""
        for number, sentence in enumerate(sentences):
            yield (("\n" if number else "") + self.mark(number), "format")
            yield (sentence, "content")

    def read(self, text: str) -> list[str]:
        """Remove the mark from every line."""
        lines = text.split("\n")
        marks = [self.mark(number) for number in range(len(lines))]
        if not all(line.startswith(mark) for line, mark in zip(lines, marks, strict=True)):
            self.refuse("a line does not start with its mark")
        return [line.removeprefix(mark) for line, mark in zip(lines, marks, strict=True)]

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Also allow anything before the first and after the last item, and blank lines between the items."""
        for part in super().loose_candidates(text):
            yield part
            yield "\n".join(_filled_lines(part))
        for part in (*fenced_blocks(text), text):
            lines = _filled_lines(part)
            items = [number for number, line in enumerate(lines) if self.is_item(line)]
            if items:
                yield "\n".join(lines[items[0] : items[-1] + 1])


def _filled_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


FORMAT = List()
