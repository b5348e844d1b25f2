"""Copies of the working tree in which tests run the real workflow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ["--configfile", "config/demo.yaml", "--cores", "2"]


def copy_checkout(target: Path) -> Path:
    """Copy every file that git tracks or would track to `target`, times kept, and link the environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_symlink() or source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    (target / ".venv").symlink_to(Path(sys.prefix))
    return target


def run(directory: Path, *command: str, check: bool = True, timeout: float = 1500) -> subprocess.CompletedProcess[str]:
    """Run a command in a copied checkout; on failure its output is part of the test's report.

    What a `make test` around this process tells its children (`MAKEFLAGS`, `MAKELEVEL`) is not for a user's own make.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
    )
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-8000:]}"
        )
    return done


def snakemake(directory: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a copied checkout."""
    return run(directory, sys.executable, "-m", "snakemake", *arguments, check=check)


def planned_jobs(directory: Path, *arguments: str) -> dict[str, int]:
    """The rules that a dry run plans, with their numbers of jobs."""
    plan = snakemake(directory, "--dry-run", "--quiet", "rules", *arguments).stdout.splitlines()
    rows = [line.split() for line in plan]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit() and row[0] != "total"}
