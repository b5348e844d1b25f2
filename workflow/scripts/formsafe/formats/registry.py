"""Formats by name: every module of this package is one, except `NOT_FORMATS`.

They are imported by computed names, so that no rule depends on a format that it does not use; the rules tell
`code_digest` which ones they use. This cannot be in `formats/__init__.py`, where the format `list` hides the type.
"""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules

from formsafe import formats
from formsafe.core.errors import FormsafeError
from formsafe.formats.base import Format

NOT_FORMATS = {"base", "registry", "sentences"}
PAPER = ("prose", "list", "json")
PLAIN = "prose"  # the format without marks of its own: any text reads as it


def format_names() -> list[str]:
    """The names of all formats there are."""
    return and_the_papers({module.name for module in iter_modules(formats.__path__)} - NOT_FORMATS)


def and_the_papers(names: Iterable[str]) -> list[str]:
    """The paper's formats in its order, which every study looks for in answers, and then the others among `names`."""
    return [*PAPER, *sorted(set(names).difference(PAPER))]


def format_module(name: str) -> str:
    """The dotted name of a format's module."""
    return f"{formats.__name__}.{name}"


def get_format(name: str) -> Format:
    """Look a format up by name; raise FormsafeError with the names there are."""
    if name not in format_names():
        raise FormsafeError(f"There is no format {name!r}; there are {', '.join(format_names())}.")
    found: Format = import_module(format_module(name)).FORMAT
    return found


def get_formats(names: Iterable[str]) -> dict[str, Format]:
    """Several formats by name, in the order of `names`."""
    return {name: get_format(name) for name in names}
