"""The files of a data set's split, as its card (README.md) or its file names say; none outside its snapshot.

A card is text of strangers: `data_files: ../../creds.csv`, an address or a chained file system
(`zip://*::http://...`) would turn the user's own files, or whatever a server sends, into prompts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from formsafe.config.settings.data import HubSource
from formsafe.core.errors import FormsafeError

_CARDS = ("README.md", ".huggingface.yaml")
_PATH_KEYS = ("data_files", "data_dir")


def split_files(folder: Path, hub: HubSource) -> list[Path]:
    """The data files of the splits of `hub`, in order; `datasets` reads card and names, and opens no data.

    Args:
        folder: a snapshot in the hub's cache.
        hub: which configuration and splits.

    Raises:
        FormsafeError: the card names files outside the snapshot, or has no such configuration or split.
    """
    check_card(folder, hub.repo)
    from datasets import load_dataset_builder

    files: list[Path] = []
    for split in (part.strip() for part in hub.split.split("+")):
        try:
            # It has no `trust_remote_code`: `datasets` runs no code of data sets since version 4.
            builder = load_dataset_builder(str(folder), hub.config)
            files += [Path(file) for file in builder.config.data_files[split]]
        except Exception as error:  # whatever libraries raise at a broken card; the message may quote it
            raise FormsafeError(
                f"{hub.repo} cannot be read as configuration {hub.config or 'default'}, split {split} "
                f"({type(error).__name__}; looked in {folder}). Check `config` and `split`, or name a copy as CSV, "
                "JSON Lines or Parquet under `path:` (with `hub: null`)."
            ) from None
    # The cache keeps a snapshot's files as links to `blobs` beside `snapshots`.
    for root in (file for file in files if not file.resolve().is_relative_to(folder.resolve().parents[1])):
        raise FormsafeError(f"{hub.repo}: its card names {root.name}, which is outside the data set. It is not read.")
    return files


def check_card(folder: Path, repo: str) -> None:
    """Raise FormsafeError where a card in `folder` names files by anything but a path below the folder."""
    for name in _CARDS:
        card = folder / name
        for path in _named_paths(_front_matter(card), False) if card.is_file() else ():
            outside = path.startswith(("/", "~", "\\")) or ".." in path.replace("\\", "/").split("/")
            if outside or "://" in path or "::" in path:
                raise FormsafeError(
                    f"{repo}: its card ({name}) names data outside the data set. It is not read. Take another "
                    "data set, or name a copy of its files under `path:` (with `hub: null`)."
                )


def _front_matter(card: Path) -> Any:
    text = card.read_text(encoding="utf-8", errors="replace")
    if card.name == "README.md":
        # YAML between two lines of three dashes at the very beginning; a card without it says nothing.
        # Cards written on Windows have a byte order mark and other line ends.
        text = text.lstrip("\ufeff").replace("\r\n", "\n")
        text = text[4:].partition("\n---")[0] if text.startswith("---\n") else ""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise FormsafeError(f"{card} is not YAML. Name a copy of the data set's files under `path:`.") from None


def _named_paths(value: Any, inside: bool) -> Iterator[str]:
    """Every text below a key that names files, at whatever depth."""
    if isinstance(value, str) and inside:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _named_paths(item, inside)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _named_paths(item, inside or key in _PATH_KEYS)
