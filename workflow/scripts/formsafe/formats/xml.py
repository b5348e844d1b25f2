"""XML: an element that holds one element per sentence."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from formsafe.core.texts import is_text
from formsafe.formats.base import Format, Kind, Traits

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_OPEN, _BETWEEN, _CLOSE = "<procedure><step>", "</step><step>", "</step></procedure>"
# XML 1.0 cannot hold these, not even as a reference: they are written as elements of their own, `<u-7/>`.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_CODE = re.compile(r"u-([0-9a-f]{1,6})")
# The end of a text that was cut inside a tag or a reference.
_CUT = re.compile(r"(?:<[^<>]*|&[^;&<]*)$")


class Xml(Format):
    """`<procedure>` with a `<step>` per sentence, on one line."""

    name = "xml"
    traits = Traits("XML", order=6, formality=5)

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Write the elements; references belong to the content."""
        for number, sentence in enumerate(sentences):
            yield (_BETWEEN if number else _OPEN, "format")
            yield (_FORBIDDEN.sub(lambda found: f"<u-{ord(found[0]):x}/>", escape(sentence)), "content")
        yield (_CLOSE, "format")

    def read(self, text: str) -> list[str]:
        """Read the steps; entities and external documents are refused (defusedxml)."""
        root = self._element(text)
        if root.tag != "procedure" or any(step.tag != "step" or step.attrib for step in root):
            self.refuse("is not `<procedure>` with `<step>` elements only")
        if "".join([root.text or "", *(step.tail or "" for step in root)]).strip():
            self.refuse("there is text outside the steps")
        return [self._text(step) for step in root]

    def decode(self, content: str) -> str:
        """Resolve references."""
        return self._text(self._element(f"<step>{content}</step>"))

    def _element(self, text: str) -> "Element":
        from defusedxml.ElementTree import ParseError, fromstring  # type: ignore[import-untyped]

        try:
            element: Element = fromstring(text)
        except (ParseError, ValueError, RecursionError):
            self.refuse("is not XML")
        return element

    def _text(self, step: "Element") -> str:
        parts = [step.text or ""]
        for element in step:
            code = _CODE.fullmatch(element.tag)
            if code is None or int(code[1], 16) > 0x10FFFF or len(element) or element.text:
                self.refuse("a step holds another element")
            parts += [chr(int(code[1], 16)), element.tail or ""]
        text = "".join(parts)
        if not is_text(text):
            self.refuse("a step holds half a character")
        return text

    def completions(self, text: str) -> Iterator[str]:
        """Close the elements."""
        left = _CUT.sub("", text[max(0, text.find("<procedure>")) :].rstrip())
        yield from (left + _CLOSE, left.removesuffix("<step>") + "</procedure>")

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Also allow anything before and after the element."""
        yield from super().loose_candidates(text)
        end = text.rfind("</procedure>")
        yield text[max(0, text.find("<procedure>")) : end + len("</procedure>") if end >= 0 else len(text)]


FORMAT = Xml()
