"""Snapshots of hub repositories: at the locked commit, from the cache where possible, with errors that help at once.

A missing network, a gated or a missing repository is known after one request. Only where the hub fails to list or send
files does huggingface_hub ask again, for half a minute. The token is read by huggingface_hub itself and is in no
message.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from formsafe.config.settings.data import HubSource
from formsafe.config.settings.models import ModelSource
from formsafe.core.errors import FormsafeError
from formsafe.sources.lock import locked_entry

Kind = Literal["model", "dataset"]

# Weights as safetensors only: pickles can run code, and so can *.py.
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
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
    kind, key = "model", f"model {source.repo}@{source.revision}"
    if isinstance(source, HubSource):
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
            raise FormsafeError(explain(error, repository)) from None
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
    total = sum(file.size or 0 for file in files)
    if kind == "dataset" and total > MAX_DATA_BYTES:
        raise FormsafeError(
            f"{repository.repo} has {total / 2**30:.0f} GiB of data, more than {MAX_DATA_BYTES / 2**30:.0f}. Name a "
            "copy of the rows that you need under `path:` (with `hub: null`)."
        )
    return None if any(file.size is None for file in files) else total


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
    # not there, an interrupted download, or no list
    with suppress(OSError, ValueError, CachedRepoTreeNotFoundError):
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True, **repository.options))
        if sure:
            get_cached_repo_tree(repo, repo_type=repository.kind, revision=revision)
        return folder
    return None


def is_outage(error: Exception) -> bool:
    """Whether an error says nothing about the repository, only about the way to it."""
    import httpx2  # the HTTP library of huggingface_hub
    from huggingface_hub import errors as hub

    if isinstance(error, hub.HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    unlisted = hub.LocalEntryNotFoundError | hub.CachedRepoTreeNotFoundError
    return isinstance(error, hub.OfflineModeIsEnabled | unlisted | httpx2.TransportError)


def explain(error: Exception, repository: Repository) -> str:
    """Say what went wrong and what to do. The token and the hub's own message (which may hold URLs) stay out."""
    from huggingface_hub import constants, get_token
    from huggingface_hub import errors as hub

    repo, revision = repository.repo, repository.wanted
    page = f"{constants.ENDPOINT}/{'datasets/' if repository.kind == 'dataset' else ''}{repo}"
    token = "A token was sent, but it gives no access" if get_token() else "No token was sent"
    remedy = "put a token with read access into the variable HF_TOKEN, or run `hf auth login`"
    status = error.response.status_code if isinstance(error, hub.HfHubHTTPError) else None
    if isinstance(error, hub.GatedRepoError):
        return f"{repo} is gated ({token}). Accept its terms at {page}, then {remedy}."
    if isinstance(error, hub.RevisionNotFoundError) and repository.locked:
        return (
            f"Commit {revision} of {repo}, which the lock of sources names, is gone from {page}. To take what is "
            "there now, delete its entry from config/sources.lock.yaml and run again."
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return f"{repo} has no revision {revision}. See {page} for its branches and tags."
    if isinstance(error, hub.RepositoryNotFoundError):
        return f"{page} does not exist, or is private ({token}). Check the name; for a private repository {remedy}."
    if status in (401, 403):
        refusal = f"{page} refuses access with status {status} ({token})"
        return f"{refusal}. Accept its terms there if it has any, and {remedy}."
    if is_outage(error):
        return (
            f"{repo} is not in the cache as a whole ({constants.HF_HUB_CACHE}), and the hub cannot be reached "
            f"({type(error).__name__}). Without network: run the targets `models` and `data` on a machine that has it "
            "and shares the cache (HF_HOME), or put a copy on disk and name it under `path:` in the configuration "
            "(with `hub: null`)."
        )
    return f"{repo} could not be fetched from {page} ({type(error).__name__}). Try again, or name a copy under `path:`."
