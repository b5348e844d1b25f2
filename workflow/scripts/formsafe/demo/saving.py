"""Model folders that are written whole: a kill leaves neither half a file nor a stray folder for long."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def save_folder(directory: str | Path, write: Callable[[Path], object], last: str = "") -> None:
    """Let `write` fill a folder beside `directory`, on the same disk, then move its files there one by one.

    Args:
        directory: the folder to make; files that are in it already are replaced.
        write: writes files into an empty folder.
        last: name of the file to move last, on which readers of the folder wait.
    """
    directory = Path(directory)
    # A fixed name, so that the next writer removes what a killed one left.
    temporary = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        for file in sorted(filter(Path.is_file, temporary.rglob("*")), key=lambda file: (file.name == last, file)):
            target = directory / file.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    finally:
        shutil.rmtree(temporary)
