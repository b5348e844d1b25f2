"""YAML: a mapping that holds the sentences as a block sequence."""

from collections.abc import Iterator

import yaml

from formsafe.core.texts import is_text
from formsafe.formats.base import Format, Kind, Traits, closings, quoted, unquoted

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT = "tag:yaml.org,2002:str"


class Yaml(Format):
    """The key `procedure` with one double-quoted sentence per line."""

    name = "yaml"
    traits = Traits("YAML", order=5, formality=4)

    def pieces(self, sentences: list[str]) -> Iterator[tuple[str, Kind]]:
        """Write the key, then an item per line; escape sequences belong to the content."""
        for number, sentence in enumerate(sentences):
            yield ('"\n- "' if number else 'procedure:\n- "', "format")
            yield (quoted(sentence), "content")
        yield ('"', "format")

    def read(self, text: str) -> list[str]:
        """Read the sequence of the one key. Nodes only, no objects: nothing is constructed and no alias expanded."""
        try:
            node = yaml.compose(text, Loader=_LOADER)
        except (yaml.YAMLError, ValueError, RecursionError):
            self.refuse("is not YAML")
        members = node.value if isinstance(node, yaml.MappingNode) else []
        if [key.value for key, _ in members] != ["procedure"] or not isinstance(members[0][1], yaml.SequenceNode):
            self.refuse("is not a mapping with the one key `procedure` and a sequence")
        # JSON is YAML in flow style, too: read as this format, every answer in JSON would count as YAML.
        if isinstance(node, yaml.MappingNode) and node.flow_style:
            self.refuse("is in flow style (JSON), not in block style")
        items = members[0][1].value
        if not all(item.tag == _TEXT and is_text(item.value) for item in items):
            self.refuse("`procedure` is not a sequence of texts")
        return [item.value for item in items]

    def decode(self, content: str) -> str:
        """Resolve escape sequences."""
        return unquoted(content)

    def completions(self, text: str) -> Iterator[str]:
        """Close the last string, or leave out the line that was cut."""
        left = text[max(0, text.find("procedure:")) :].rstrip()
        yield from (*closings(left, ""), left.rsplit("\n", 1)[0])

    def loose_candidates(self, text: str) -> Iterator[str]:
        """Also allow anything before the key."""
        yield from super().loose_candidates(text)
        start = text.find("procedure:")
        if start > 0:
            yield from super().loose_candidates(text[start:])


FORMAT = Yaml()
