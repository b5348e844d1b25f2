"""A GPU of its own for every job on a machine without a scheduler.

Slurm sets CUDA_VISIBLE_DEVICES; without it nobody does, and all jobs would share the first card. So a job claims a free
card, or waits for one, by a lock that the kernel releases when the process ends, however it ends.
"""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from formsafe.core.errors import FormsafeError
from formsafe.core.files import open_lock

VARIABLE = "CUDA_VISIBLE_DEVICES"
ALLOCATOR = "PYTORCH_ALLOC_CONF"
_PROC = Path("/proc/driver/nvidia/gpus")
_held: list[int] = []  # open for as long as the process lives


def claim_device(device: str, poll_seconds: float = 2.0) -> str | None:
    """Point this process at one free GPU, waiting until there is one; call it before torch is imported.

    It also lets PyTorch's allocator grow its segments: a batch of another length fits no block that an earlier batch
    gave back.

    Args:
        device: a model's `device` setting; `cpu` claims nothing.
        poll_seconds: time between tries while all cards are taken.

    Returns:
        The identifier claimed, or None where nothing is to claim: a scheduler chose one already, or there is no card.
    """
    os.environ.setdefault(ALLOCATOR, "expandable_segments:True")
    chosen = os.environ.get(VARIABLE)
    cards = installed_cards() if chosen is None else chosen.split(",")
    if device == "cpu" or not cards or (chosen is not None and len(cards) == 1):
        return None
    folder = lock_folder()
    claimed = first_free(cards, folder)
    if claimed is None:
        print(f"All GPUs ({len(cards)}) are taken by other jobs; waiting for one.", flush=True)
    while claimed is None:
        time.sleep(poll_seconds)
        claimed = first_free(cards, folder)
    os.environ[VARIABLE] = claimed
    print(f"This job computes on GPU {claimed}.", flush=True)
    return claimed


def lock_folder() -> Path:
    """The user's own folder for locks of this host: in the runtime directory, else in the one for temporary files.

    Everybody can make folders in the latter: one of another user, with links to files of ours, is refused.

    Raises:
        FormsafeError: the folder is a link, another user's, or open to others.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    owned = runtime.is_dir() and runtime.stat().st_uid == os.getuid() and os.access(runtime, os.W_OK)
    folder = (runtime if owned else Path(tempfile.gettempdir())) / f"formsafe-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise FormsafeError(
            f"{folder}, which keeps jobs from sharing a GPU, is a link, or open to other users or theirs. Remove it, "
            "or name a folder of your own in XDG_RUNTIME_DIR."
        )
    return folder


def first_free(cards: Iterable[str], folder: Path) -> str | None:
    """Lock and return the first of `cards` that no living process holds, or None."""
    for card in cards:
        lock = open_lock(folder / f"{Path(card).name}.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        _held.append(lock)
        return card
    return None


def installed_cards(listing: Path = _PROC, nodes: Path = Path("/dev")) -> list[str]:
    """The identifiers (GPU-...) of the NVIDIA cards to be had here, in the order of the bus, without loading CUDA.

    A container sees the list of all the machine's cards, but has the device nodes of its own only.
    """
    found = []
    for information in sorted(listing.glob("*/information")):
        lines = (line.partition(":") for line in information.read_text().splitlines())
        card = {key.strip(): value.strip() for key, _, value in lines}
        if "GPU UUID" in card and (nodes / f"nvidia{card.get('Device Minor')}").exists():
            found.append(card["GPU UUID"])
    return found
