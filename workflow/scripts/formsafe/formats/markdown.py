"""Markdown: a numbered list."""

import re

from formsafe.formats.base import Traits
from formsafe.formats.list import List

# With the blank: `1.5 litres` at the start of a line is no item.
_ITEM = re.compile(r"\d+\. ")


class Markdown(List):
    """One sentence per line, numbered from 1: `1. Fill it.`"""

    name = "markdown"
    traits = Traits("Markdown", order=3, formality=2)

    def mark(self, number: int) -> str:
        """The number, counted from 1."""
        return f"{number + 1}. "

    def is_item(self, line: str) -> bool:
        """Whether a line starts with a number."""
        return _ITEM.match(line) is not None


FORMAT = Markdown()
