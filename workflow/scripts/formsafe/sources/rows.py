"""Rows of a data set from the hub, a URL or local files, as plain mappings, with a digest over all of them."""

import csv
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from formsafe.config.settings.data import DataSource, HubSource
from formsafe.core.errors import FormsafeError
from formsafe.sources.hub import DATA_FILES, snapshot
from formsafe.sources.lock import check_or_add, locked_entry

Row = dict[str, Any]
SUFFIXES = (".csv", ".jsonl", ".json", ".parquet")


class SourceRows:
    """Rows of one source, read once; afterwards `count`, `columns` and `digest` describe all of them.

    Attributes:
        commit: of a hub repository, else None.
        columns: names in the order of the first row.
    """

    def __init__(self, source: DataSource, lock: Path | str) -> None:
        """Find the source (and fetch it, unless it is local); raises FormsafeError if it cannot be had."""
        self.lock = lock
        self.commit: str | None = None
        self.count = 0
        self.columns: list[str] = []
        self._hash = hashlib.sha256()
        self._key: str | None = None
        if source.hub is not None:
            part = f"{source.hub.config or 'default'}/{source.hub.split}"
            self.place = self._key = f"dataset {source.hub.repo}@{source.hub.revision} {part}"
            commit = (locked_entry(lock, self.place) or {}).get("commit")
            folder, self.commit = snapshot(source.hub.repo, "dataset", source.hub.revision, commit, DATA_FILES)
            self._rows = _hub_rows(folder, source.hub)
        elif source.url is not None:
            self.place = self._key = without_secrets(source.url)
            self._rows = _url_rows(source.url)
        else:
            self.place = str(source.path)
            self._rows = (row for file in _local_files(self.place) for row in file_rows(file))

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.columns = self.columns or list(row)
            self.count += 1
            self._hash.update(json.dumps(row, ensure_ascii=True, sort_keys=True, default=str).encode() + b"\n")
            yield row

    @property
    def digest(self) -> str:
        """SHA-256 over all columns of the rows read so far, in order."""
        return self._hash.hexdigest()

    def settle(self) -> None:
        """Hold what was read against the lock, or note it there (local files are not locked).

        Raises:
            FormsafeError: the source has changed.
        """
        if self._key is None:
            return
        commit = {} if self.commit is None else {"commit": self.commit}
        check_or_add(self.lock, self._key, {**commit, "rows": self.count, "digest": self.digest})

    def describe(self) -> Row:
        """What a manifest says of the source."""
        return {
            "source": self.place,
            "commit": self.commit,
            "rows": self.count,
            "columns": self.columns,
            "digest": self.digest,
        }


def file_rows(path: Path) -> Iterator[Row]:
    """Read a CSV (with header), JSON Lines, JSON (array of objects) or Parquet file row by row.

    Raises:
        FormsafeError: another kind of file, or a row that does not fit; names file and row, never the row's text.
    """
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".json": _json_rows, ".parquet": _parquet_rows}
    if path.suffix.lower() not in readers:
        raise FormsafeError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}.")
    try:
        yield from readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise FormsafeError(f"{path} is not UTF-8 text (byte {error.start}). Convert it, e.g. with iconv.") from None


def without_secrets(url: str) -> str:
    """Drop user, password, query and fragment, any of which may hold a secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    with open(path, encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
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
    # By place, since in a file without header a name is a row's text.
    places = [str(place) for place, column in enumerate(header, start=1) if header.count(column) > 1]
    if places:
        raise FormsafeError(f"{path}: columns {', '.join(places)} do not differ in name. Rename or remove all but one.")


def _json_rows(path: Path) -> Iterator[Row]:
    with open(path, encoding="utf-8-sig", newline="\n") as lines:
        array = lines.read(1) == "["
        lines.seek(0)
        rows = _parsed(path, lines.read().lstrip("\ufeff"), 1) if array else _json_lines(path, lines)
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise FormsafeError(f"{path}, row {number}: expected a JSON object.")
            yield row


def _json_lines(path: Path, lines: Any) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parsed(path, line, number)


def _parsed(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise FormsafeError(f"{path}, line {line}: not JSON. The file is cut or of another kind.") from None


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise FormsafeError(f"{path} is not a whole Parquet file ({type(error).__name__}).") from None


def _local_files(pattern: str) -> list[Path]:
    from glob import glob

    files = [Path(pattern)] if Path(pattern).is_file() else [Path(found) for found in sorted(glob(pattern))]
    if not files:
        raise FormsafeError(f"No file fits `path: {pattern}` (looked from {Path.cwd()}).")
    return files


def _url_rows(url: str) -> Iterator[Row]:
    import httpx

    shown = without_secrets(url)
    suffix = Path(urlsplit(url).path).suffix.lower()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"source{suffix}"
        try:
            with httpx.stream("GET", url, follow_redirects=True, timeout=15.0) as response, open(file, "wb") as out:
                response.raise_for_status()
                for block in response.iter_bytes():
                    out.write(block)
        except httpx.HTTPStatusError as error:
            raise FormsafeError(
                f"{shown} answers with status {error.response.status_code}. Check the address, or name a copy on disk "
                "under `path:` (with `url: null`)."
            ) from None
        except httpx.HTTPError as error:
            raise FormsafeError(
                f"{shown} cannot be fetched ({type(error).__name__}). Without network: run the target `data` on a "
                "machine that has it, or name a copy on disk under `path:` (with `url: null`)."
            ) from None
        yield from file_rows(file)


def _hub_rows(folder: Path, hub: HubSource) -> Iterator[Row]:
    from datasets import load_dataset

    for split in hub.split.split("+"):
        try:
            yield from load_dataset(str(folder), hub.config, split=split.strip(), streaming=True)
        except Exception as error:  # of every library that reads files; its message may hold a row's text
            raise FormsafeError(
                f"{hub.repo} cannot be read as configuration {hub.config or 'default'}, split {split.strip()} "
                f"({type(error).__name__}; looked in {folder}). Check `config` and `split`, or name a copy as CSV, "
                "JSON Lines or Parquet under `path:` (with `hub: null`)."
            ) from None
