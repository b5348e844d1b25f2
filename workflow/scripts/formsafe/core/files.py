"""Whole files or no files: every write goes to a new neighbour first, which is then renamed over the target.

A folder of results may come from somebody else, so no symbolic link in it is followed.
"""

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from types import UnionType
from typing import Any

from formsafe.core.errors import FormsafeError

# Deeper JSON, or longer numbers, are no data of ours: they end in a RecursionError or an OverflowError far from here.
MAX_NESTING = 100
MAX_DIGITS = 300


class _Missing:
    """The value of a key that is not there; null is one that is."""


@contextmanager
def replacing(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yield a neighbouring temporary path; on success fsync it and rename it to `path`, on failure remove it.

    The neighbour's name is fixed, so that the next writer removes what a killed one left. A file has one writer at a
    time: Snakemake runs one job for it, and none while jobs of a killed Snakemake still run.

    Args:
        path: the file to write.
        private: it holds answers to harmful prompts: only the owner may read it, unless `results_mode` is `group`.

    Raises:
        FormsafeError: the file, or a folder on the way to it, is a symbolic link.
    """
    path = Path(path)
    refuse_links(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = create(temporary, private)
    mode = os.fstat(descriptor).st_mode & 0o777
    os.close(descriptor)
    try:
        yield temporary
        os.chmod(temporary, mode)  # safetensors makes a file of its own with mode 0600, whatever the umask
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def create(path: str | Path, private: bool = False) -> int:
    """Make a new file, never through a link, and return its descriptor; its mode follows the umask (see `private`)."""
    # O_EXCL and O_NOFOLLOW: a file or link that somebody put there meanwhile is an error, and nothing is written to it.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, private_mode() if private else 0o666)


def private_mode() -> int:
    """Mode, before the umask, of files with answers to harmful prompts (see the setting `results_mode`)."""
    return 0o666 if os.environ.get("FORMSAFE_RESULTS_MODE") == "group" else 0o600


def refuse_links(path: str | Path) -> None:
    """Raise FormsafeError where `path` or a folder on the way to it is a symbolic link.

    The first folder of a relative path may be one: `results` is often linked to a larger disk. Of a path outside the
    working directory only the file and its folder are looked at.
    """
    path = Path(path)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    ways = [path, path.parent] if path.is_absolute() else [path, *path.parents][:-2] or [path]
    for way in ways:
        if way.is_symlink():
            raise FormsafeError(
                f"{way} is a symbolic link, through which results would overwrite other files. Remove it (the whole "
                "folder `results` may be a link, what is in it may not)."
            )


def refuse_links_below(folder: str | Path) -> None:
    """Raise FormsafeError where `folder` or anything in it is a symbolic link."""
    refuse_links(folder)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(root, name)):
                refuse_links(os.path.join(root, name))


def is_below(path: str | Path, folder: str | Path) -> bool:
    """Whether `path`, after all links and `..`, is in `folder` and not `folder` itself."""
    found, root = Path(path).resolve(), Path(folder).resolve()
    return found != root and found.is_relative_to(root)


def open_lock(path: str | Path) -> int:
    """Open a file for `flock`, neither truncated nor through a link; the kernel frees the lock with the process.

    Raises:
        FormsafeError: it is a symbolic link.
    """
    refuse_links(path)
    # O_CLOEXEC: a child process that inherited the descriptor would hold the lock after its parent has ended.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


@contextmanager
def exclusive(path: str | Path) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; waits for other processes and threads."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def matching_files(pattern: str | Path) -> list[str]:
    """The file of that very name (it may hold `[ ]`), or else all that the pattern matches, sorted."""
    return [str(pattern)] if os.path.exists(pattern) else sorted(glob(str(pattern), recursive=True))


def sync(path: str | Path) -> None:
    """Put a file's contents, or a folder's names, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str, private: bool = False) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with replacing(path, private) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, records: Iterable[dict[str, Any]], private: bool = False) -> int:
    """Write one JSON object per line, whole or not at all; return the number of records."""
    count = 0
    with replacing(path, private) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as lines:
        for record in records:
            lines.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: str | Path) -> Any:
    """Read one JSON document; raises FormsafeError naming the file when it is not JSON."""
    try:
        return loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormsafeError(f"{path} is not valid JSON ({error}). Delete it and run again to rebuild it.") from error


def read_jsonl(path: str | Path, **fields: type | UnionType) -> list[dict[str, Any]]:
    """Read a JSON Lines file.

    Args:
        path: the file.
        fields: keys that each record must have, and the types of their values.

    Raises:
        FormsafeError: naming the file and line of what is not a JSON object with these fields.
    """
    records = []
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise FormsafeError(f"{path}, line {number}: expected one JSON object per line.")
            if wrong := [key for key, kind in fields.items() if not isinstance(record.get(key, _Missing()), kind)]:
                named = ", ".join(wrong)
                raise FormsafeError(f"{path}, line {number}: no valid {named}. Delete the file and run again.")
            records.append(record)
    return records


def loads(text: str | bytes) -> Any:
    """Read JSON of a stranger; raises ValueError, without the text, at anything but plain JSON of sane size."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(text, parse_constant=_constant, parse_float=_float, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}, character {error.pos}") from None
    except RecursionError:
        raise ValueError(f"JSON nested more than {MAX_NESTING} deep") from None
    # Counting the brackets is quick and shows of nearly every text that it cannot be deep.
    if text.count("[") + text.count("{") > MAX_NESTING and _is_deep(value):
        raise ValueError(f"JSON nested more than {MAX_NESTING} deep")
    return value


def _constant(name: str) -> None:
    raise ValueError(f"not JSON: {name} is not a number")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):  # 1e999
        raise ValueError("not JSON of ours: a number too large")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:  # a whole number of 400 digits is read well and ends the first division by it
        raise ValueError("not JSON of ours: a number too large")
    return int(digits)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_NESTING):
        level = [item for part in level for item in _children(part)]
    return any(isinstance(item, dict | list) for item in level)


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
