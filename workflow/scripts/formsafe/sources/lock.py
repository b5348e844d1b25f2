"""The lock of sources: what each held when it was first fetched, checked at every later fetch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from formsafe.core.errors import FormsafeError
from formsafe.core.files import exclusive, write_text

Entry = dict[str, Any]

_HEADER = """\
# What sources on the hub and the web held when they were first fetched: the commit that a revision meant then, and the
# rows and SHA-256 of the content. Later fetches take that commit and must find that content. To accept a changed
# source, delete its entry and run again. Keep this file under version control.
"""


def locked_entry(lock: Path | str, key: str) -> Entry | None:
    """What the lock says of the source `key`; None if nothing."""
    return _read(Path(lock)).get(key)


def check_or_add(lock: Path | str, key: str, found: Mapping[str, Any]) -> None:
    """Compare what was found with the lock, or add it there if the source is new. Safe among parallel jobs.

    Args:
        lock: the lock's path.
        key: names the source as the configuration gives it.
        found: what identifies the content, as builtins.

    Raises:
        FormsafeError: the source has changed; says what was locked, what was found, and how to accept it.
    """
    lock = Path(lock)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(lock.with_name(f".{lock.name}.guard")):
        entries = _read(lock)
        if key not in entries:
            entries[key] = dict(found)
            text = yaml.safe_dump({"sources": dict(sorted(entries.items()))}, allow_unicode=True, width=1000)
            write_text(lock, _HEADER + text)
            return
    locked = entries[key]
    changes = [f"{name} {locked.get(name)} -> {value}" for name, value in found.items() if locked.get(name) != value]
    if changes:
        raise FormsafeError(
            f"The source `{key}` has changed since it was first fetched: {'; '.join(changes)}. To stay with the old "
            f"content, restore it or point the configuration to a copy; to accept the new one, delete the entry "
            f"`{key}` from {lock} and run again (results made from the old one will be made again)."
        )


def _read(lock: Path) -> dict[str, Entry]:
    if not lock.exists():
        return {}
    try:
        entries = yaml.safe_load(lock.read_text(encoding="utf-8"))["sources"]
    except (yaml.YAMLError, TypeError, KeyError, ValueError):
        entries = None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise FormsafeError(f"{lock} is not a lock of sources. Restore it from version control or delete it.")
    return entries
