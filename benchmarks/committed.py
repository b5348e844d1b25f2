"""Committed results: benchmarks/results/{name}.json, each with the command, machine and versions that it comes from."""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STARTED = time.time()
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ("trl", "accelerate")  # beside the packages that a study's records name
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "workflow" / "scripts")) if path not in sys.path]

from formsafe.core.files import write_json  # noqa: E402
from formsafe.core.provenance import stage_record  # noqa: E402


def save(name: str, result: Mapping[str, Any]) -> None:
    """Print a result and write it.

    Args:
        name: the file's name without its ending.
        result: JSON-ready figures.
    """
    print(json.dumps(result, indent=2))
    write_json(RESULTS / f"{name}.json", {**result, "measured": measured()})


def measured() -> dict[str, Any]:
    """What a result comes from: command, machine, versions, and what it took so far."""
    record = {"command": command(), "machine": machine(), **stage_record(STARTED, code="")}
    for key in ("code", "seed", "slurm_job_id"):  # they describe jobs of a study
        record.pop(key)
    installed = {name: metadata.version(name) for name in PEERS if find_spec(name)}
    return {**record, "versions": {**record["versions"], **installed}}


def command() -> str:
    """The command line of this benchmark, from the top of the checkout; of paths elsewhere only the last part."""
    script = Path(sys.argv[0]).resolve()
    script = script.relative_to(ROOT) if script.is_relative_to(ROOT) else Path(script.name)
    arguments = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", str(script), *arguments])


def machine() -> str:
    """Processor, number of cores and load."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def _cpu_lines() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
