"""Snapshots of hub repositories: at the locked commit, from the cache where possible, with errors that help at once.

A missing network, a gated or a missing repository is known after one request. Only where the hub fails to list or send
files does huggingface_hub ask again, for half a minute. The token is read by huggingface_hub itself and is in no
message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from formsafe.config.settings.data import HubSource
from formsafe.config.settings.models import ModelSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import file_digest, read_json, write_json
from formsafe.sources.hub_errors import explain, is_outage
from formsafe.sources.lock import check_or_add, locked_entry

Kind = Literal["model", "dataset"]

# Weights as safetensors only: pickles can run code, and so can *.py.
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
# Larger files of local models are known by their time: reading shards of many GB takes minutes on a shared file system.
DIGESTED_BYTES = 256_000_000
# Second copies of the weights in shapes of other libraries; those of Mistral lie beside the first.
NOT_MODEL_FILES = ("original/*", "onnx/*", "openvino/*", "consolidated*.safetensors", "*.bin.index.json")
DATA_FILES = ("*.parquet", "*.csv", "*.jsonl", "*.json", "*.jsonl.gz", "*.json.gz", "*.csv.gz", "README.md")
TIMEOUT = 15.0  # seconds for one request
MAX_DATA_BYTES = 16 * 2**30  # of a data set, which is read on one machine; models have no limit


@dataclass(frozen=True)
class Repository:
    """A repository on the hub: `revision` is a branch, tag or commit; `locked` the commit that the lock has for it,
    which is taken instead."""

    repo: str
    kind: Kind
    revision: str
    locked: str | None = None

    @property
    def wanted(self) -> str:
        """The revision to take."""
        return self.locked or self.revision

    @property
    def options(self) -> dict[str, Any]:
        """What huggingface_hub is told of kind and wanted files."""
        allow, ignore = (MODEL_FILES, NOT_MODEL_FILES) if self.kind == "model" else (DATA_FILES, ())
        return {"repo_type": self.kind, "allow_patterns": list(allow), "ignore_patterns": list(ignore)}


def locked_repository(lock: Path | str, source: HubSource | ModelSource) -> tuple[str, Repository]:
    """The key of a source in the lock, and its repository."""
    if isinstance(source, ModelSource):
        kind, key = "model", f"model {source.repo}@{source.revision}"
    else:
        kind, key = "dataset", f"dataset {source.repo}@{source.revision} {source.config or 'default'}/{source.split}"
    locked = (locked_entry(lock, key) or {}).get("commit")
    return key, Repository(source.repo, kind, source.revision, locked)  # type: ignore[arg-type]


def snapshot(repository: Repository) -> tuple[Path, str]:
    """Fetch a repository's files and return their folder and commit.

    Raises:
        FormsafeError: no network and not in the cache; gated; missing; too large; or the hub is in trouble.
    """
    from huggingface_hub import get_cached_repo_tree, snapshot_download

    repo, wanted, sure = repository.repo, repository.wanted, must_be_sure(repository)
    # Only a commit (40 hex digits) always means the same files, so that the hub need not be asked.
    is_commit = len(wanted) == 40 and all(digit in "0123456789abcdef" for digit in wanted)
    if is_commit and (cached := cached_snapshot(repository, sure=True)) is not None:
        return cached, wanted
    try:
        download_size(repository)  # one request that never retries
        folder = Path(snapshot_download(repo, revision=wanted, **repository.options))
        if sure:  # where the files cannot be listed, it takes what is in the cache without an error
            get_cached_repo_tree(repo, repo_type=repository.kind, revision=folder.name)
    except FormsafeError:
        raise
    except Exception as error:
        found = cached_snapshot(repository, sure)
        if found is None or not is_outage(error):
            message = explain(error, repo, repository.kind, wanted, bool(repository.locked))
            raise FormsafeError(message) from None
        print(f"The hub cannot be reached; taking {repo} from the cache.")
        return found, found.name
    return folder, folder.name


def download_size(repository: Repository, probe_access: bool = False) -> int | None:
    """Bytes of the wanted files by one request that never retries; None where the hub does not tell.

    Args:
        repository: what is wanted.
        probe_access: also ask for one file's header: pages of gated repositories are open, their files are not.

    Raises:
        FormsafeError: a model without weights that are loaded, or a data set that is too large.
        Exception: whatever huggingface_hub raises where it cannot be had (see `explain`).
    """
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import filter_repo_objects

    options = repository.options
    kind = options.pop("repo_type")
    place: dict[str, Any] = {"repo_type": kind, "revision": repository.wanted}
    found = HfApi().repo_info(repository.repo, **place, timeout=TIMEOUT, files_metadata=True)
    listed = getattr(found, "siblings", None) or []
    files = list(filter_repo_objects(listed, **options, key=lambda file: file.rfilename))
    if probe_access and kind == "model" and not any(file.rfilename.endswith(".safetensors") for file in files):
        raise FormsafeError(
            f"{repository.repo} has no *.safetensors (weights in other files are not loaded, since pickles can run "
            "code). Name a repository that has them."
        )
    if probe_access and files:
        url = hf_hub_url(repository.repo, files[0].rfilename, repo_type=kind, revision=found.sha)
        get_hf_file_metadata(url, timeout=TIMEOUT)
    sizes = [file.size for file in files]
    total = sum(size or 0 for size in sizes)
    if kind == "dataset" and total > MAX_DATA_BYTES:
        raise FormsafeError(
            f"{repository.repo} has {total / 2**30:.0f} GiB of data, more than {MAX_DATA_BYTES / 2**30:.0f}. Name a "
            "copy of the rows that you need under `path:` (with `hub: null`)."
        )
    return None if None in sizes else total


def must_be_sure(repository: Repository) -> bool:
    """Whether files may be taken from the cache only where its list tells that all are there.

    A model's files are checked, and the rows of a locked data set are compared with the lock; a new data set would be
    locked as it is found.
    """
    return repository.kind == "dataset" and repository.locked is None


def cached_snapshot(repository: Repository, sure: bool) -> Path | None:
    """The folder of a snapshot that is in the cache, if there is one and none of its files is known to be missing.

    Args:
        repository: what is wanted.
        sure: whether the list of the repository's files must be there to tell; it is where the snapshot was downloaded
            as one, and is not where a library fetched single files.
    """
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    repo, revision = repository.repo, repository.wanted
    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True, **repository.options))
        if sure:
            get_cached_repo_tree(repo, repo_type=repository.kind, revision=revision)
    except (OSError, ValueError, CachedRepoTreeNotFoundError):  # not there, an interrupted download, or no list
        return None
    return folder


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
            "it, or fetch it again: snakemake --cores 1 --force models."
        )
    return folder


def fetch_model(
    name: str,
    hub: ModelSource | None,
    path: str | None,
    lock: Path | str,
    manifest: Path | str,
    needed: str = "config.json",
) -> dict[str, Any]:
    """Make sure that a model is on this machine and write its manifest.

    That is `{name, path, repo, revision, files, digests, modified}`, with sizes of files in bytes; `path` is None for
    a hub's model (see `model_folder`). A local model has no commit, but `digests` (SHA-256 of smaller files) and
    `modified` (times of larger ones): other files are noticed.

    Args:
        name: the model's name in the configuration.
        hub: its repository, or None.
        path: local directory, or None.
        lock: the lock of sources.
        manifest: where the manifest goes.
        needed: a file that it must have (`modules.json`: a sentence-transformers model).

    Raises:
        FormsafeError: it cannot be had, or is not a model with safetensors weights.
    """
    key, commit, folder = "", None, Path(path or "")
    if hub is not None:
        key, repository = locked_repository(lock, hub)
        folder, commit = snapshot(repository)
    found = _visible_files(folder)
    files = {file: status.st_size for file, status in found.items()}
    _check_files(hub.repo if hub else str(path), folder, files, needed)
    if hub is not None:
        check_or_add(lock, key, {"commit": commit})
    record: dict[str, Any] = {"name": name, "path": path if hub is None else None, "repo": hub.repo if hub else None}
    record |= {"revision": commit, "files": files}
    record |= _identity(folder, {} if hub else found)
    write_json(manifest, record)
    return record


def is_read(name: str) -> bool:
    """Whether a file of a model's folder is one that loading the model reads."""
    return not _is_hidden(Path(name)) and any(fnmatch(Path(name).name, pattern) for pattern in MODEL_FILES)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _identity(folder: Path, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    read = {name: status for name, status in found.items() if is_read(name)}
    small = {name for name, status in read.items() if status.st_size <= DIGESTED_BYTES}
    return {
        "digests": {name: file_digest(folder / name) for name in sorted(small)},
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
