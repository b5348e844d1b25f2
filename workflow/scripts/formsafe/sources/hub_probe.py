"""Looks at the hub without fetching: is it in the cache, can it be had, how large is it?"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from formsafe.core.errors import FormsafeError
from formsafe.sources import hub

# A login node without a way out must say so at once.
_PATIENCE = 3.0


@dataclass(frozen=True)
class Access:
    """What a look found: `cached` with its folder; `reachable` with bytes to fetch (None: not told); or an `obstacle`,
    said with its remedy, where `outage` is the network's or the hub's fault and not the repository's."""

    state: Literal["cached", "reachable", "obstacle"]
    folder: Path | None = None
    bytes: int | None = None
    obstacle: str = ""
    outage: bool = False


def hub_answers() -> bool:
    """Whether the hub can be reached from here; known within seconds."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    return within(lambda: get_session().head(constants.ENDPOINT, timeout=_PATIENCE) is not None)


def within(question: Callable[[], bool], seconds: float = _PATIENCE) -> bool:
    """Ask, and take an error or no answer in time for a no (looking up a name has no time-out of its own)."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            answers.append(question())
        except Exception:
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers and answers[0])


def probe(
    repo: str,
    kind: hub.Kind,
    revision: str,
    locked: str | None,
    allow: Sequence[str],
    ignore: Sequence[str] = (),
    *,
    online: bool,
) -> Access:
    """Look for a repository's files in the cache, then (if `online`) on the hub, where one file's header is asked for:
    pages of gated repositories are open, their files are not."""
    wanted = locked or revision
    options: dict[str, Any] = {"repo_type": kind, "allow_patterns": list(allow), "ignore_patterns": list(ignore)}
    cached = hub.cached_snapshot(repo, wanted, options, sure=online or hub.must_be_sure(kind, locked))
    if cached is not None:
        return Access("cached", folder=cached)
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        if not online:
            raise OfflineModeIsEnabled("no network")
        return Access("reachable", bytes=_look(repo, kind, wanted, allow, ignore))
    except FormsafeError as error:
        return Access("obstacle", obstacle=str(error))
    except Exception as error:
        explained = hub.explain(error, repo, kind, wanted, bool(locked))
        return Access("obstacle", obstacle=explained, outage=hub.is_outage(error))


def _look(repo: str, kind: hub.Kind, revision: str, allow: Sequence[str], ignore: Sequence[str]) -> int | None:
    """Bytes of the wanted files; raises what huggingface_hub raises where they cannot be had, and FormsafeError for a
    model without weights that are loaded."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import filter_repo_objects

    found = HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=hub.TIMEOUT, files_metadata=True)
    patterns = {"allow_patterns": list(allow), "ignore_patterns": list(ignore)}
    files = list(
        filter_repo_objects(getattr(found, "siblings", None) or [], **patterns, key=lambda file: file.rfilename)
    )
    if kind == "model" and not any(file.rfilename.endswith(".safetensors") for file in files):
        raise FormsafeError(
            f"{repo} has no *.safetensors (weights in other files are not loaded, since pickles can run code). Name a "
            "repository that has them."
        )
    if files:
        url = hf_hub_url(repo, files[0].rfilename, repo_type=kind, revision=found.sha)
        get_hf_file_metadata(url, timeout=hub.TIMEOUT)
    sizes = [file.size for file in files]
    return None if None in sizes else sum(size or 0 for size in sizes)
