"""All rows of a data set from the hub, a URL or local files, as plain mappings, with a digest over them."""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from formsafe.config.settings.data import DataSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import matching_files
from formsafe.sources.data_card import split_files
from formsafe.sources.hub import MAX_DATA_BYTES, locked_repository, snapshot
from formsafe.sources.lock import check_or_add
from formsafe.sources.readers import Row, file_rows

MAX_ROWS = 5_000_000  # read where the configuration does not say how many there are
DOWNLOAD_SECONDS = 3600.0  # a server that sends a byte now and then would hold the job forever


@dataclass(frozen=True)
class SourceRows:
    """Rows of one source.

    Attributes:
        rows: all of them, in order.
        place: where they come from, without secrets.
        key: names the source in the lock; None for local files, which are the user's own and are not locked.
        commit: of a hub repository, else None.
    """

    rows: list[Row]
    place: str
    key: str | None = None
    commit: str | None = None

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the source; the digest is SHA-256 over all columns of all rows."""
        hashed = hashlib.sha256()
        for row in self.rows:
            hashed.update(json.dumps(row, ensure_ascii=True, sort_keys=True, default=str).encode() + b"\n")
        return {
            "source": self.place,
            "commit": self.commit,
            "rows": len(self.rows),
            "columns": list(self.rows[0]) if self.rows else [],
            "digest": hashed.hexdigest(),
        }

    def settle(self, lock: Path | str) -> None:
        """Compare the rows with the lock, or add them there; raises FormsafeError if the source has changed."""
        if self.key is not None:
            found = self.describe()
            names = ("rows", "digest") if self.commit is None else ("commit", "rows", "digest")
            check_or_add(lock, self.key, {name: found[name] for name in names})


def read_source(source: DataSource, lock: Path | str, most: int | None = None) -> SourceRows:
    """Fetch a source unless it is local, and read its rows, but no more than one beyond `most`.

    Raises:
        FormsafeError: it cannot be had or read.
    """
    key, commit = None, None
    with tempfile.TemporaryDirectory() as scratch:
        if source.hub is not None:
            key, repository = locked_repository(lock, source.hub)
            folder, commit = snapshot(repository)
            files: Iterable[Path] = split_files(folder, source.hub)
        elif source.url is not None:
            key = without_secrets(source.url)
            files = [download(source.url, Path(scratch))]
        else:
            files = map(Path, matching_files(str(source.path)))
        rows = chain.from_iterable(map(file_rows, files))
        taken = list(islice(rows, (most or MAX_ROWS) + 1))
    if most is None and len(taken) > MAX_ROWS:
        raise FormsafeError(f"{key or source.path} has more than {MAX_ROWS:,} rows. Say how many under `rows`.")
    return SourceRows(taken, key or str(source.path), key, commit)


def without_secrets(url: str) -> str:
    """Drop user, password, query and fragment, any of which may hold a secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def with_variables(url: str) -> str:
    """The address with the values of the variables that it names (`$NAME`): keys are in none of the configuration.

    Raises:
        FormsafeError: one of them is not set.
    """
    address = os.path.expandvars(url)
    # What `expandvars` left as it was: a variable that is not set would be sent to the server as its name.
    if names := re.findall(r"\$\{?([A-Za-z_]\w*)", address):
        raise FormsafeError(f"{without_secrets(url)} needs the variable {names[0]}, which is not set. Export it.")
    return address


def download(url: str, folder: Path) -> Path:
    """Fetch a file into `folder`; raises FormsafeError where it cannot be had, is too large or takes too long."""
    import httpx

    shown = without_secrets(url)
    file = folder / (Path(urlsplit(url).path).name or "source")
    remedy = "Check the address, or name a copy on disk under `path:` (with `url: null`)."
    size, end = 0, time.monotonic() + DOWNLOAD_SECONDS
    try:
        with (
            httpx.stream("GET", with_variables(url), follow_redirects=True, timeout=15.0) as response,
            open(file, "wb") as out,
        ):
            response.raise_for_status()
            for block in response.iter_bytes():  # decompressed: a small reply can hold terabytes
                size += len(block)
                if size > MAX_DATA_BYTES or time.monotonic() > end:
                    limits = f"{MAX_DATA_BYTES / 2**30:.0f} GiB or takes longer than {DOWNLOAD_SECONDS / 3600:.0f} h"
                    raise FormsafeError(f"{shown} sends more than {limits}. {remedy}")
                out.write(block)
    except httpx.HTTPStatusError as error:
        raise FormsafeError(f"{shown} answers with status {error.response.status_code}. {remedy}") from None
    except httpx.HTTPError as error:
        raise FormsafeError(
            f"{shown} cannot be fetched ({type(error).__name__}). Without network: run the target `data` on a machine "
            "that has it, or name a copy on disk under `path:` (with `url: null`)."
        ) from None
    return file
