"""Formats by name: every module of this package is one, except `NOT_FORMATS`.

They are imported by computed names, so that no rule depends on a format that it does not use; the rules name the ones
that they use to `code_digest`. This cannot be in `formats/__init__.py`, where the format `list` hides the type.
"""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules

from formsafe import formats
from formsafe.core.errors import FormsafeError
from formsafe.formats.base import Format, Traits

NOT_FORMATS = {"base", "registry", "sentences"}


def format_names() -> list[str]:
    """The names of all formats there are, in their order."""
    found = {module.name for module in iter_modules(formats.__path__)} - NOT_FORMATS
    return sorted(found, key=lambda name: (_load(name).traits.order, name))


def and_the_papers(names: Iterable[str]) -> list[str]:
    """The formats among `names` and the paper's, which every study looks for in answers, in their order."""
    wanted = set(names)
    return [name for name in format_names() if name in wanted or _load(name).traits.paper]


def plain_format() -> str:
    """The name of the running text that the corpus is: the first plain format."""
    return next(name for name in format_names() if _load(name).traits.plain)


def traits_of(name: str) -> Traits:
    """The traits of a format; for a name that is no format (`none`, of base models) traits that sort it last."""
    known = format_names()
    return _load(name).traits if name in known else Traits(name, order=len(known), formality=0)


def format_module(name: str) -> str:
    """The dotted name of a format's module."""
    return f"{formats.__name__}.{name}"


def get_format(name: str) -> Format:
    """Look a format up by name; raise FormsafeError with the names there are."""
    if name not in format_names():
        raise FormsafeError(f"There is no format {name!r}; there are {', '.join(format_names())}.")
    return _load(name)


def get_formats(names: Iterable[str]) -> dict[str, Format]:
    """Several formats by name, in the order of `names`."""
    return {name: get_format(name) for name in names}


def _load(name: str) -> Format:
    found: Format = import_module(format_module(name)).FORMAT
    return found
