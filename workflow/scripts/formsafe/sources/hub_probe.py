"""Looks at the hub without fetching: is it in the cache, can it be had, how large is it?"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
        with suppress(Exception):
            answers.append(question())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return any(answers)


def probe(repository: hub.Repository, *, online: bool) -> Access:
    """Look for a repository's files in the cache, then (if `online`) on the hub."""
    cached = hub.cached_snapshot(repository, sure=online or hub.must_be_sure(repository))
    if cached is not None:
        return Access("cached", folder=cached)
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        if not online:
            raise OfflineModeIsEnabled("no network")
        return Access("reachable", bytes=hub.download_size(repository, probe_access=True))
    except FormsafeError as error:
        return Access("obstacle", obstacle=str(error))
    except Exception as error:
        return Access("obstacle", obstacle=hub.explain(error, repository), outage=hub.is_outage(error))
