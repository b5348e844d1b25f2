"""Shuffled: the sentences of the running text in another order, a control that destroys order and adds no format."""

from collections.abc import Iterator, Sequence
from random import Random

from formsafe.formats.base import FormatError, Kind, Traits
from formsafe.formats.prose import Prose

# Orders tried until one is found in which the splitter finds the same sentences: a sentence without a full stop, such
# as some texts end with, would otherwise merge with the next one.
ORDERS = 50


class Shuffled(Prose):
    """One paragraph of the same sentences; the order is drawn with the text as the seed."""

    name = "shuffled"
    traits = Traits("Shuffled", order=1, formality=0, plain=True)

    def arranged(self, sentences: Sequence[str]) -> list[str]:
        """The order: the first of the drawn ones that can be read back; the given one where none can."""
        draw = Random("\n".join(sentences))
        for _ in range(ORDERS):
            order = draw.sample(list(sentences), len(sentences))
            try:
                if order != list(sentences) and self.read(" ".join(order)) == order:
                    return order
            except FormatError:
                continue
        return list(sentences)

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Join the sentences by spaces, in their new order."""
        return super().pieces(self.arranged(sentences))


FORMAT = Shuffled()
