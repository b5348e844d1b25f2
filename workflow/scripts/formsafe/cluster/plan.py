"""What Snakemake would run: its dry run, read into jobs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from formsafe.core.errors import FormsafeError

_RULE = re.compile(r"(?:local)?(?:rule|checkpoint) (\S+):$")
_FIELD = re.compile(r"    ([a-z]+): (.*)$")


@dataclass
class PlannedJob:
    """One job of a plan, by the words of Snakemake."""

    rule: str
    outputs: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    benchmark: str | None = None
    reason: str = ""
    gpus: int = 0


def run_snakemake(arguments: Sequence[str], directory: Path) -> str:
    """Run Snakemake in `directory` and return what it printed; raises FormsafeError with its last words."""
    command = [sys.executable, "-m", "snakemake", "--nocolor", *arguments]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, env={**os.environ, "PYTHONUNBUFFERED": ""}
    )
    if done.returncode:
        words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise FormsafeError(f"Snakemake could not do {' '.join(arguments)}:\n{words}")
    return done.stdout + done.stderr


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line at the first `--`: our own words, and what Snakemake is called with."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def config_files(arguments: Sequence[str]) -> list[str]:
    """The files after `--configfile` in what Snakemake is called with."""
    words = list(arguments)
    after = words[words.index("--configfile") + 1 :] if "--configfile" in words else []
    return list(takewhile(lambda word: not word.startswith("-"), after))


def planned_jobs(arguments: Sequence[str], directory: Path) -> list[PlannedJob]:
    """The jobs that Snakemake, called with `arguments` in `directory`, would run; targets without output left out."""
    jobs = read_plan(run_snakemake(["--dry-run", *arguments], directory))
    return [job for job in jobs if job.outputs]


def read_plan(text: str) -> Iterator[PlannedJob]:
    """Read the jobs out of what a dry run printed."""
    job = None
    for line in text.splitlines():
        if found := _RULE.match(line):
            if job is not None:
                yield job
            job = PlannedJob(found[1])
        elif job is not None and (found := _FIELD.match(line)):
            _set(job, found[1], found[2])
        elif job is not None and not line.startswith("    "):
            yield job
            job = None
    if job is not None:
        yield job


def _set(job: PlannedJob, name: str, value: str) -> None:
    if name == "output":
        job.outputs = _paths(value)
    elif name == "input":
        job.inputs = _paths(value)
    elif name == "benchmark":
        job.benchmark = value.strip()
    elif name == "reason":
        job.reason = value.strip()
    elif name == "resources" and (found := re.search(r"\bgpu=(\d+)", value)):
        job.gpus = int(found[1])


def _paths(value: str) -> list[str]:
    return [re.sub(r" \([^)]*\)$", "", path.strip()) for path in value.split(", ")]
