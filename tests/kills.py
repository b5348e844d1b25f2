"""Killing random processes of a study and starting it again, as often as one likes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from formsafe.cluster.orphans import local_orphans

# One format of the demo: its runs are the same as in the whole demo, and so are their lines in summary.csv.
ONE_FORMAT = """
grid:
  - {models: [demo], methods: [base, sft, promot], formats: [json], learning_rates: [6.5e-4], seeds: [0]}
"""


def one_format_study(checkout: Path) -> list[str]:
    """Write the smaller study to a checkout; return Snakemake's arguments for it."""
    (checkout / "one_format.yaml").write_text(ONE_FORMAT)
    return ["--cores", "2", "--configfile", "config/demo.yaml", "one_format.yaml"]


def kill_and_restart(checkout: Path, arguments: Sequence[str], kills: int, rng: random.Random) -> Counter[str]:
    """Run a study, kill something `kills` times and start again each time, then let it end.

    Returns:
        What was killed: `snakemake` (with all its children) or a job's script by name.
    """
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        snakemake = _start(checkout, arguments)
        victim = _kill_something(checkout, snakemake, rng)
        if victim is not None:
            killed[victim] += 1
        elif snakemake.returncode:
            raise AssertionError(_said(checkout))
        else:  # it ended before its time: make it compute a run again
            shutil.rmtree(rng.choice(sorted(checkout.glob("results/*/runs/*/*/*/*/*"))))
        _call(checkout, [*arguments, "--unlock"])
    last = _start(checkout, arguments)
    if last.wait():
        raise AssertionError(_said(checkout))
    return killed


def _kill_something(checkout: Path, snakemake: subprocess.Popen[bytes], rng: random.Random) -> str | None:
    """Kill a job or Snakemake with its children at some moment; None when Snakemake ended before."""
    waits = time.monotonic() + rng.uniform(3.0, 14.0)
    while time.monotonic() < waits:
        if snakemake.poll() is not None:
            return None
        time.sleep(0.1)
    jobs = list(local_orphans(checkout))
    if jobs and rng.random() < 0.6:
        job = rng.choice(jobs)
        os.kill(int(job.id), signal.SIGKILL)
        snakemake.wait()
        return job.what
    if snakemake.poll() is not None:
        return None
    os.killpg(snakemake.pid, signal.SIGKILL)
    snakemake.wait()
    for job in local_orphans(checkout):
        os.kill(int(job.id), signal.SIGKILL)
    return "snakemake"


def leftovers(checkout: Path) -> list[str]:
    """Files that only an unfinished job needs."""
    paths = (path for folder in ("results", "resources") for path in checkout.glob(f"{folder}/**/.*"))
    return sorted(str(path.relative_to(checkout)) for path in paths)


def _start(checkout: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    with open(checkout.parent / "snakemake.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=checkout,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )


def _call(checkout: Path, arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "snakemake", *arguments], cwd=checkout, check=True, capture_output=True)


def _said(checkout: Path) -> str:
    return (checkout.parent / "snakemake.log").read_text(errors="replace")[-4000:]
