"""The list of figures and tables: each is one function, registered where it is defined; its docstring is the caption.

    @table("safety", "Refusals")
    def refusals(results: Results) -> DataFrame:
        \"\"\"Share of answers that refuse, found by keywords.\"\"\"

The function's name names the files. The rules read the names from the source text (`registered_names`): a Snakefile is
parsed in every job, and importing matplotlib and pandas there would cost a second each time.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from formsafe.core.errors import FormsafeError

SECTIONS = {"safety": "Safety", "task": "Task quality", "training": "Training", "judges": "Judges", "data": "Data"}
Make = TypeVar("Make", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """A registered figure or table.

    Args:
        name: stem of its files, and its function's name.
        section: where the page shows it, a key of `SECTIONS`.
        title: a few words.
        caption: how to read it and what would speak against the claim; `{scored}` and the like name what
            the headline judge calls harmful (`Results.words`).
        make: draws a figure from (results, model), or makes a table from results.
    """

    name: str
    section: str
    title: str
    caption: str
    make: Callable[..., Any]


_entries: dict[str, dict[str, Entry]] = {"figures": {}, "tables": {}}


def figure(section: str, title: str) -> Callable[[Make], Make]:
    """Register a function `(results, model) -> Figure`."""
    return _register("figures", section, title)


def table(section: str, title: str) -> Callable[[Make], Make]:
    """Register a function `(results) -> DataFrame` whose cells are texts, numbers or estimates."""
    return _register("tables", section, title)


def _register(kind: str, section: str, title: str) -> Callable[[Make], Make]:
    if section not in SECTIONS:
        raise ValueError(f"{title}: there is no section {section!r}; there are {', '.join(SECTIONS)}")

    def keep(make: Make) -> Make:
        caption = " ".join(str(make.__doc__).split())  # the docstring's line breaks are those of the source
        _entries[kind][make.__name__] = Entry(make.__name__, section, title, caption, make)
        return make

    return keep


def modules_of(kind: str) -> list[str]:
    """Dotted names of the modules that hold `figures` or `tables`, sorted."""
    return [f"{__package__}.{kind}.{path.stem}" for path in _sources(kind)]


def registered_names(kind: str) -> list[str]:
    """Names of all `figures` or `tables`, without importing them."""
    parsed = (ast.parse(path.read_text(encoding="utf-8")) for path in _sources(kind))
    nodes = (node for module in parsed for node in module.body if isinstance(node, ast.FunctionDef))
    return [node.name for node in nodes if _is_registered(node, kind.removesuffix("s"))]


def entries(kind: str) -> dict[str, Entry]:
    """All registered `figures` or `tables` by name, section after section."""
    for module in modules_of(kind):
        import_module(module)
    return dict(sorted(_entries[kind].items(), key=lambda item: list(SECTIONS).index(item[1].section)))


def entry_of(kind: str, path: str | Path, stem: str) -> Entry:
    """The entry that `stem` names; raise FormsafeError with the names there are."""
    known = entries(kind)
    if stem not in known:
        raise FormsafeError(f"{path}: there is no {kind[:-1]} {stem!r}; the {kind} are {', '.join(known)}.")
    return known[stem]


def _sources(kind: str) -> list[Path]:
    return sorted(path for path in (Path(__file__).parent / kind).glob("*.py") if path.stem != "__init__")


def _is_registered(node: ast.FunctionDef, decorator: str) -> bool:
    return any(ast.unparse(found).startswith(f"{decorator}(") for found in node.decorator_list)
