"""Models for the jobs: fetched or local, described by a manifest, and found again by it."""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from formsafe.config.settings.models import ModelPlace
from formsafe.core.errors import FormsafeError
from formsafe.core.files import file_digest, read_json, write_json
from formsafe.sources.hub import MODEL_FILES, Repository, cached_snapshot, locked_repository, snapshot
from formsafe.sources.lock import check_or_add

# Larger files of local models are known by their time: reading shards of many GB takes minutes on a shared file system.
# This limit is of the manifest; whether `fetch_model` runs again Snakemake tells by content up to 1 GB
# (`max-checksum-file-size` in profiles/default), so that a file that was touched only changes no manifest.
DIGESTED_BYTES = 256_000_000


def model_folder(manifest: Mapping[str, Any]) -> Path:
    """Where a fetched model's files are now.

    The manifest of a hub's model names its commit and no folder: a cache that moved makes no result stale.

    Args:
        manifest: what `fetch_model` wrote.

    Raises:
        FormsafeError: the commit is not in the hub's cache of this machine.
    """
    if manifest["path"] is not None:
        return Path(manifest["path"])
    repo, commit = manifest["repo"], manifest["revision"]
    folder = cached_snapshot(Repository(repo, "model", commit), sure=False)
    if folder is None:
        raise FormsafeError(
            f"{repo} at commit {commit} is not in the hub's cache of this machine. Set HF_HOME to the cache that has "
            "it, or fetch it again: snakemake --cores 1 models --forcerun fetch_model fetch_encoder."
        )
    return folder


def fetch_model(
    name: str, place: ModelPlace, lock: Path | str, manifest: Path | str, needed: str = "config.json"
) -> dict[str, Any]:
    """Make sure that a model is on this machine and write its manifest.

    That is `{name, path, repo, revision, files, digests, modified}`, with sizes of files in bytes; `path` is None for
    a hub's model (see `model_folder`). A local model has no commit, but `digests` (SHA-256 of smaller files) and
    `modified` (times of larger ones): other files are noticed.

    Args:
        name: the model's name in the configuration.
        place: its repository or its local directory.
        lock: the lock of sources.
        manifest: where the manifest goes.
        needed: a file that it must have (`modules.json`: a sentence-transformers model).

    Raises:
        FormsafeError: it cannot be had, or is not a model with safetensors weights.
    """
    key, commit, folder, repo = "", None, Path(place.path or ""), place.hub and place.hub.repo
    if place.hub is not None:
        key, repository = locked_repository(lock, place.hub)
        folder, commit = snapshot(repository)
    found = _visible_files(folder)
    files = {file: status.st_size for file, status in found.items()}
    _check_files(repo or str(place.path), folder, files, needed)
    if repo is not None:
        check_or_add(lock, key, {"commit": commit})
    record = {"name": name, "path": place.path, "repo": repo, "revision": commit, "files": files}
    record |= _identity(folder, {} if repo else found)
    write_json(manifest, record)
    return record


def is_read(name: str) -> bool:
    """Whether a file of a model's folder is one that loading the model reads."""
    return not _is_hidden(Path(name)) and any(fnmatch(Path(name).name, pattern) for pattern in MODEL_FILES)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _identity(folder: Path, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    read = {name: status for name, status in found.items() if is_read(name)}
    small = sorted(name for name, status in read.items() if status.st_size <= DIGESTED_BYTES)
    return {
        "digests": {name: file_digest(folder / name) for name in small},
        "modified": {name: status.st_mtime_ns for name, status in read.items() if name not in small},
    }


def _visible_files(folder: Path) -> dict[str, Any]:
    """Status of every file by its path in `folder`, hidden ones (`.git`, `.cache`) aside."""
    paths = [(path.relative_to(folder), path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {own.as_posix(): path.stat() for own, path in paths if not _is_hidden(own)}


def _check_files(place: str, folder: Path, files: Mapping[str, int], needed: str) -> None:
    weights = [file for file in files if file.endswith(".safetensors")]
    missing = [] if needed in files else [needed]
    for index in (file for file in files if file.endswith(".safetensors.index.json")):
        try:
            parts = {str(Path(index).parent / part) for part in read_json(folder / index)["weight_map"].values()}
        except (LookupError, TypeError, AttributeError):
            raise FormsafeError(f"{folder / index} is not an index of weights. Fetch {place} again.") from None
        missing += sorted(parts - files.keys())
    if not weights:
        missing.append("*.safetensors (weights in other files are not loaded, since pickles can run code)")
    if missing:
        raise FormsafeError(f"{place} lacks {', '.join(missing)} (looked in {folder}).")
