"""Snapshots of hub repositories: at the locked commit, from the cache where possible, with errors that help at once.

A missing network, a gated or a missing repository is known after one request. Only where the hub
fails to list or send files does huggingface_hub ask again, for half a minute. The token is read by huggingface_hub
itself and stands in no message.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, write_json
from formsafe.sources.lock import check_or_add, locked_entry

Kind = Literal["model", "dataset"]

# Weights as safetensors only: pickles can run code.
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
NOT_MODEL_FILES = ("original/*", "onnx/*", "openvino/*", "*.bin.index.json")
DATA_FILES = ("*.parquet", "*.csv", "*.jsonl", "*.json", "*.jsonl.gz", "*.json.gz", "*.csv.gz", "README.md")
_COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = 15.0  # seconds for one request


def snapshot(
    repo: str, kind: Kind, revision: str, locked: str | None, allow: Sequence[str], ignore: Sequence[str] = ()
) -> tuple[Path, str]:
    """Fetch a repository's files and return their folder and commit.

    Args:
        repo: `owner/name`.
        kind: model or data set.
        revision: branch, tag or commit.
        locked: the commit that the lock holds for this source; taken instead of `revision`.
        allow: patterns of the files wanted.
        ignore: patterns of files left out nevertheless.

    Raises:
        FormsafeError: no network and not in the cache; gated; missing; or the hub is in trouble.
    """
    from huggingface_hub import HfApi, get_cached_repo_tree, snapshot_download

    wanted = locked or revision
    options: dict[str, Any] = {"repo_type": kind, "allow_patterns": list(allow), "ignore_patterns": list(ignore)}
    if _COMMIT.fullmatch(wanted) and (cached := cached_snapshot(repo, wanted, options, sure=True)) is not None:
        return cached, wanted
    sure = must_be_sure(kind, locked)
    try:
        HfApi().repo_info(repo, repo_type=kind, revision=wanted, timeout=TIMEOUT)  # one request that never retries
        folder = Path(snapshot_download(repo, revision=wanted, **options))
        if sure:  # where the files cannot be listed, it takes what is in the cache without an error
            get_cached_repo_tree(repo, repo_type=kind, revision=folder.name)
    except Exception as error:
        cached = cached_snapshot(repo, wanted, options, sure)
        if cached is None or not is_outage(error):
            raise FormsafeError(explain(error, repo, kind, wanted, bool(locked))) from None
        print(f"The hub cannot be reached; taking {repo} from the cache.")
        return cached, cached.name
    return folder, folder.name


def fetch_model(
    name: str,
    hub: Mapping[str, str] | None,
    path: str | None,
    lock: Path | str,
    manifest: Path | str,
    needed: str = "config.json",
) -> dict[str, Any]:
    """Make sure that a model is on this machine and write its manifest.

    That is `{name, path, repo, revision, files, modified}`, with sizes of files in bytes. A local model has no commit:
    `modified`, the times of its files in nanoseconds, tells what follows from it that the weights were exchanged.

    Args:
        name: the model's name in the configuration.
        hub: `repo` and `revision`, or None.
        path: local directory, or None.
        lock: the lock of sources.
        manifest: where the manifest goes; its `path` is what load functions take.
        needed: a file that it must have (`modules.json`: a sentence-transformers model).

    Raises:
        FormsafeError: it cannot be had, or is not a model with safetensors weights.
    """
    commit, key = None, ""
    if hub is not None:
        key = f"model {hub['repo']}@{hub['revision']}"
        locked = (locked_entry(lock, key) or {}).get("commit")
        folder, commit = snapshot(hub["repo"], "model", hub["revision"], locked, MODEL_FILES, NOT_MODEL_FILES)
    else:
        folder = Path(str(path))
    found = {
        file.relative_to(folder).as_posix(): file.stat()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    }
    files = {file: status.st_size for file, status in found.items()}
    _check_files(hub["repo"] if hub else str(path), folder, files, needed)
    if hub is not None:
        check_or_add(lock, key, {"commit": commit})
    record = {
        "name": name,
        "path": str(folder),
        "repo": hub["repo"] if hub else None,
        "revision": commit,
        "files": files,
        "modified": None if hub is not None else {file: status.st_mtime_ns for file, status in found.items()},
    }
    write_json(manifest, record)
    return record


def _check_files(place: str, folder: Path, files: Mapping[str, int], needed: str) -> None:
    weights = [file for file in files if file.endswith(".safetensors")]
    missing = [] if needed in files else [needed]
    for index in (file for file in files if file.endswith(".safetensors.index.json")):
        parts = set(read_json(folder / index)["weight_map"].values())
        missing += sorted(part for part in parts if (Path(index).parent / part).as_posix() not in files)
    if not weights:
        missing.append("*.safetensors (weights in other files are not loaded, since pickles can run code)")
    if missing:
        raise FormsafeError(f"{place} lacks {', '.join(missing)} (looked in {folder}).")


def must_be_sure(kind: Kind, locked: str | None) -> bool:
    """Whether files of which nobody can tell if they are all there must not be taken from the cache without network.

    They are for a model, whose files are checked, and for a locked data set, whose rows are held against the lock; a
    new data set would be locked as it is found.
    """
    return kind == "dataset" and locked is None


def cached_snapshot(repo: str, revision: str, options: Mapping[str, Any], sure: bool) -> Path | None:
    """The folder of a snapshot that is in the cache, if there is one and none of its files is known to be missing.

    Args:
        repo: `owner/name`.
        revision: branch, tag or commit.
        options: `repo_type` and the patterns of the files wanted.
        sure: whether the list of the repository's files must be there to tell; it is where the snapshot was downloaded
            as one, and is not where a library fetched single files.
    """
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True, **options))
        if sure:
            get_cached_repo_tree(repo, repo_type=options["repo_type"], revision=revision)
    except (OSError, ValueError, CachedRepoTreeNotFoundError):  # not there, an interrupted download, or no list
        return None
    return folder


def is_outage(error: Exception) -> bool:
    """Whether an error says nothing about the repository, only about the way to it."""
    import httpx2  # the HTTP library of huggingface_hub
    from huggingface_hub import errors as hub

    if isinstance(error, hub.HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    unlisted = hub.LocalEntryNotFoundError | hub.CachedRepoTreeNotFoundError
    return isinstance(error, hub.OfflineModeIsEnabled | unlisted | httpx2.TransportError)


def explain(error: Exception, repo: str, kind: Kind, revision: str, locked: bool) -> str:
    """Say what went wrong and what to do. The token and the hub's own message (which may hold URLs) stay out."""
    from huggingface_hub import constants, get_token
    from huggingface_hub import errors as hub

    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    token = "A token was sent, but it gives no access" if get_token() else "No token was sent"
    if isinstance(error, hub.GatedRepoError):
        return (
            f"{repo} is gated ({token}). Accept its terms at {page}, then put a token of that account (read access) "
            "into the variable HF_TOKEN, or run `hf auth login`."
        )
    if isinstance(error, hub.RevisionNotFoundError) and locked:
        return (
            f"Commit {revision} of {repo}, which the lock of sources names, is gone from {page}. To take what is "
            "there now, delete its entry from config/sources.lock.yaml and run again."
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return f"{repo} has no revision {revision}. See {page} for its branches and tags."
    if isinstance(error, hub.RepositoryNotFoundError):
        return (
            f"{page} does not exist, or is private ({token}). Check the name; for a private repository put a token "
            "with access into the variable HF_TOKEN."
        )
    if isinstance(error, hub.HfHubHTTPError) and error.response.status_code in (401, 403):
        return (
            f"{page} refuses access with status {error.response.status_code} ({token}). Accept its terms on that page "
            "if it has any, and put a valid token with read access into the variable HF_TOKEN."
        )
    if is_outage(error):
        return (
            f"{repo} is not in the cache as a whole ({constants.HF_HUB_CACHE}), and the hub cannot be reached "
            f"({type(error).__name__}). Without network: run the targets `models` and `data` on a machine that has it "
            "and shares the cache (HF_HOME), or put a copy on disk and name it under `path:` in the configuration "
            "(with `hub: null`)."
        )
    return f"{repo} could not be fetched from {page} ({type(error).__name__}). Try again, or name a copy under `path:`."
