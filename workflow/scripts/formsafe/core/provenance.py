"""What made a result: code, versions, machine and cost of one stage."""

import os
import platform
import resource
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers", "sentence-transformers", "snakemake")


def stage_record(started: float, code: str, seed: int | None = None, continued_seconds: float = 0.0) -> dict[str, Any]:
    """Describe a stage that ends now.

    Args:
        started: `time.time()` at its start.
        code: digest of the code that ran (see `code_digest`).
        seed: the stage's seed, if it has one.
        continued_seconds: what went into the work that an earlier start left and this one went on with.

    Returns:
        JSON-ready mapping: code, seed, started (UTC), seconds, device, peak memory (bytes), versions, git commit, job.
    """
    return {
        "code": code,
        "seed": seed,
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started + continued_seconds, 3),
        **_device(),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "versions": {"python": platform.python_version(), **_versions()},
        "git_commit": _git_commit(),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
    }


def _device() -> dict[str, Any]:
    torch = sys.modules.get("torch")  # looked up, not imported: stages without torch stay light
    # A job whose setting is `device: cpu` computes there on a machine with a GPU, too.
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        peak = torch.cuda.max_memory_allocated()
        return {"device": torch.cuda.get_device_name(), "peak_gpu_memory_bytes": peak}
    return {"device": f"cpu ({platform.machine()})", "peak_gpu_memory_bytes": None}


def _versions() -> dict[str, str]:
    installed = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed


def _git_commit() -> str | None:
    """The commit of the checkout, with `-dirty` behind it where tracked files were edited since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None
    return None
