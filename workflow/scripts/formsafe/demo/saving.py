"""A folder for what is half written, which no kill leaves behind for long."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def neighbour(directory: Path) -> Iterator[Path]:
    """Yield an empty folder beside `directory`, on the same disk, and remove it at the end.

    Its name is fixed, so that the next writer takes away what a killed one left.
    """
    temporary = directory.with_name(f".{directory.name}.tmp")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary)
