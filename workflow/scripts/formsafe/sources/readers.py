"""Rows of one data file: CSV (also tab or semicolon separated), JSON Lines, JSON or Parquet, plain or gzipped.

Errors name file and row, never the row's text: it may be a harmful prompt.
"""

import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from formsafe.core.errors import FormsafeError
from formsafe.core.files import loads

Row = dict[str, Any]
# A gzipped file of some megabytes can hold terabytes, and a line without end fills the memory.
MAX_DOCUMENT = 2**30  # characters of one line, or of one JSON array
MAX_FIELD = 2**27  # characters of one CSV field
_GZIP = b"\x1f\x8b"


def file_rows(path: Path) -> Iterator[Row]:
    """Read one file row by row; all values of a CSV are text.

    Args:
        path: its name ends in `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet`, with or without `.gz`.

    Raises:
        FormsafeError: no regular file, another kind of file, or a row that does not fit.
    """
    reader = _READERS.get(Path(path.name.lower().removesuffix(".gz")).suffix)
    if path.is_dir():
        raise FormsafeError(f"{path} is a folder. Name the files in it, e.g. `{path}/*.csv`.")
    if reader is None or (path.exists() and not path.is_file()):
        raise FormsafeError(f"{path}: expected a file that ends in {', '.join(_READERS)} (or in one of these and .gz).")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise FormsafeError(f"{path} is not UTF-8 text (byte {error.start}). Convert it, e.g. with iconv.") from None
    except (OSError, EOFError) as error:  # EOFError: a gzipped file that was cut
        raise FormsafeError(f"{path} cannot be read ({getattr(error, 'strerror', None) or 'it is cut'}).") from None


def _text(path: Path, newline: str) -> IO[str]:
    with open(path, "rb") as file:
        # By content, not by name: a browser saves `rows.csv.gz` under either name.
        gzipped = file.read(2) == _GZIP
    open_text: Callable[..., IO[str]] = gzip.open if gzipped else open
    # utf-8-sig: spreadsheets write a byte order mark, which would be part of the first column's name.
    return open_text(path, "rt", encoding="utf-8-sig", newline=newline)


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_FIELD)
    with _text(path, newline="") as lines:
        first = lines.readline(MAX_FIELD)
        lines.seek(0)
        # Only where the first line leaves no doubt: a comma in it is always the separator.
        delimiter = next((mark for mark in ",\t;" if mark in first), ",")
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            _check_header(path, header)
            for number, fields in enumerate(reader):
                if fields and len(fields) != len(header):
                    raise FormsafeError(
                        f"{path}, row {number}: {len(fields)} fields where the first line has {len(header)}. "
                        "The file is cut or not quoted as CSV."
                    )
                if fields:
                    yield dict(zip(header, fields, strict=True))
        except csv.Error as error:
            raise FormsafeError(f"{path}, near line {reader.line_num}: not CSV ({error}).") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    # By number, since in a file without header a name is a row's text.
    places = [str(place) for place, column in enumerate(header, start=1) if header.count(column) > 1]
    if places:
        raise FormsafeError(f"{path}: columns {', '.join(places)} have the same name. Rename or remove all but one.")


def _json_rows(path: Path) -> Iterator[Row]:
    """One JSON object per line, or one array of objects."""
    with _text(path, newline="\n") as lines:
        first = lines.readline(MAX_DOCUMENT)
        array = first.lstrip().startswith("[")
        rest = iter(lambda: lines.readline(MAX_DOCUMENT), "")
        texts = enumerate([first + lines.read(MAX_DOCUMENT)] if array else chain([first], rest), start=1)
        for number, row in enumerate(chain.from_iterable(_parsed(path, line, text, array) for line, text in texts)):
            if not isinstance(row, dict):
                raise FormsafeError(f"{path}, row {number}: expected a JSON object.")
            yield row


def _parsed(path: Path, line: int, text: str, array: bool) -> list[Any]:
    try:
        value = loads(text) if text.strip() else []
    except ValueError as error:
        raise FormsafeError(f"{path}, line {line}: {error}. The file is cut or of another kind.") from None
    return value if array or not text.strip() else [value]


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise FormsafeError(f"{path} is not a whole Parquet file ({type(error).__name__}).") from None


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
}
