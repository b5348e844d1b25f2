"""The configuration as tables: a section of settings, named entries or the grid's blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd


def settings_tables(settings: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """A table per section, in order.

    Args:
        settings: section to its settings as builtins; entries with names of their own (models) and lists of entries
            (the grid) take a row each, all else a row per key.
    """
    return {name: _table(section) for name, section in settings.items()}


def _table(section: Any) -> pd.DataFrame:
    if isinstance(section, list):
        return _entries("block", {str(number): block for number, block in enumerate(section, start=1)})
    if section and all(isinstance(entry, Mapping) for entry in section.values()):
        return _entries("name", section)
    rows = [[key, _shown(value)] for key, value in _flat(section)]
    return pd.DataFrame(rows, columns=["key", "value"], dtype=object)


def _entries(what: str, entries: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row per entry; a key that none of them sets is left out."""
    rows = {entry: dict(_flat(settings)) for entry, settings in entries.items()}
    keys: dict[str, None] = {}
    for row in rows.values():
        keys |= {key: None for key, value in row.items() if value not in (None, [])}
    cells = []
    for entry, row in rows.items():
        cells.append([entry, *(_shown(row.get(key)) for key in keys)])
    return pd.DataFrame(cells, columns=[what, *keys], dtype=object)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys as the configuration's reference writes them, `splits.train`, with their values."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str | None:
    """A value in one line, as YAML writes it; nothing where it is not set."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(each)}" for key, each in _flat(value) if each is not None)
    if isinstance(value, list):
        return "; ".join(str(_shown(each)) for each in value) or None
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)
