"""What Snakemake would run: the jobs of its dry run, as its own data structures hold them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, islice, takewhile
from pathlib import Path

from formsafe.core.errors import FormsafeError

_CHILD = Path(__file__).with_name("plan_child.py")


@dataclass
class PlannedJob:
    """One job of the study.

    `planned` says whether it would run and `why` in words, `gone` which of its outputs are not on disk (nothing may
    need them now), and `unrecorded` that Snakemake has no record of how its outputs were made.
    """

    rule: str
    outputs: list[str] = field(default_factory=list)
    benchmark: str | None = None
    gpus: int = 0
    planned: bool = True
    gone: list[str] = field(default_factory=list)
    unrecorded: bool = False
    why: list[str] = field(default_factory=list)


def run_snakemake(arguments: Sequence[str], directory: Path) -> None:
    """Run Snakemake in `directory`; raises FormsafeError with its last words."""
    _run(["-m", "snakemake", "--nocolor", *arguments], arguments, directory)


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line at the first `--`: our own words, and what Snakemake is called with."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def config_files(arguments: Sequence[str]) -> list[str]:
    """The files after `--configfile` in what Snakemake is called with."""
    return words_after(("--configfile",), arguments)


def words_after(options: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """What follows the first of `options` in `arguments`, up to the next option."""
    rest = dropwhile(lambda word: word not in options, arguments)
    return list(takewhile(lambda word: not word.startswith("-"), islice(rest, 1, None)))


def all_jobs(arguments: Sequence[str], directory: Path) -> list[PlannedJob]:
    """All jobs of the study, planned or not; targets without output left out."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        _run([str(_CHILD), str(plan), *arguments], ["--dry-run", *arguments], directory)
        jobs = json.loads(plan.read_text(encoding="utf-8"))
    return [PlannedJob(**job) for job in jobs if job["outputs"]]


def _run(words: Sequence[str], shown: Sequence[str], directory: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run([sys.executable, *words], cwd=directory, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise FormsafeError(f"Snakemake could not do {' '.join(shown)}:\n{last}")
