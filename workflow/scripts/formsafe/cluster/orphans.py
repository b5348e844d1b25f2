"""Jobs that outlive a Snakemake which was killed: what its log says of them, and which still run.

Snakemake does not take them over: the next one would compute the same files beside them.
"""

import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from formsafe.core.errors import FormsafeError

PREFIX = "formsafe"
DEFAULT_CONFIG = "config/config.yaml"
_QUEUE_FORMAT = "%i|%T|%j|%Z|%k"
# Lines of Snakemake's log, the only trace of one that was killed: where and how it was called, the name that its
# jobs have in Slurm, and the study (which the Snakefile writes there: with `--quiet rules` a log names no files).
_LINES = (r"^  Host: (\S+)", r"^  Command: (.+)", r"^SLURM run ID: (\S+)", r"^Study: (\S+)")


@dataclass(frozen=True)
class Orphan:
    """A living job of a dead Snakemake: `id` of Slurm, or of a process on this host."""

    id: str
    state: str
    what: str
    local: bool = False

    def __str__(self) -> str:
        return f"{'process' if self.local else 'Slurm job'} {self.id:>8}  {self.state:<10}  {self.what}"


@dataclass(frozen=True)
class RunLog:
    """What the log of one Snakemake tells: where and how it was called, its Slurm run and its study."""

    host: str | None
    command: list[str]
    run_id: str | None
    study: str | None


def read_log(text: str) -> RunLog:
    """Read a log of Snakemake (.snakemake/log)."""
    found = (re.search(line, text, re.MULTILINE) for line in _LINES)
    host, command, run_id, study = (line and line[1] for line in found)
    words: list[str] = []
    with suppress(ValueError):  # quotes that do not close: no log of Snakemake's own
        words = shlex.split(command or "")
    return RunLog(host, words, run_id, study)


def newest_log(directory: Path, study: str) -> tuple[Path, RunLog] | None:
    """The newest log in `directory` of a Snakemake that started jobs of `study`."""
    return next(((path, log) for path, log in _logs(directory) if log.study == study), None)


def started_elsewhere(directory: Path, study: str) -> str | None:
    """The other host on which a Snakemake locked `directory` for `study`; from here nobody can see if it still runs."""
    found = newest_log(directory, study)
    locked = any((directory / ".snakemake/locks").glob("*"))
    return found[1].host if found and locked and found[1].host not in (None, platform.node()) else None


def find_orphans(directory: Path, study: str) -> list[Orphan]:
    """All living jobs of `study` in `directory`, in Slurm and on this host; no Snakemake may run there."""
    # Without a run in Slurm there is nothing to ask Slurm for: a host may have its programs and no cluster behind them.
    logs = [log for _, log in _logs(directory) if log.run_id]
    foreign = {str(log.run_id) for log in logs if log.study not in (None, study)}
    queue = queued_jobs() if any(log.run_id not in foreign for log in logs) else []
    return [*slurm_orphans(queue, directory, foreign), *local_orphans(directory)]


def refuse_orphans(study: str, config_files: Sequence[str | Path], directory: Path) -> None:
    """Raise FormsafeError while jobs of an earlier Snakemake still compute results of `study`.

    Args:
        study: its name.
        config_files: those that Snakemake was called with.
        directory: the checkout.
    """
    living = living_snakemakes(directory)
    found = [orphan for orphan in find_orphans(directory, study) if not (orphan.local and _descends(orphan, living))]
    if found:
        listed = "\n".join(f"  {orphan}" for orphan in found)
        if living:
            raise FormsafeError(
                f"Another Snakemake (process {', '.join(map(str, living))}) is at work here, and these jobs of the "
                f"study {study!r} may be its own:\n{listed}\nLet it end first."
            )
        command = make_command("recover", study, config_files, directory)
        raise FormsafeError(
            f"Jobs of an earlier Snakemake are still at work on the study {study!r}:\n{listed}\n"
            f"Two jobs would write the same files. Wait for them or cancel them:\n"
            f"  {command} ORPHANS=wait\n  {command} ORPHANS=cancel"
        )


def make_command(target: str, study: str, config_files: Sequence[str | Path], directory: Path) -> str:
    """The call of `make` in `directory` for a target (`recover`, `report`), a study and its configuration."""
    paths = [directory / file for file in config_files or [DEFAULT_CONFIG]]
    files = " ".join(str(path.relative_to(directory) if path.is_relative_to(directory) else path) for path in paths)
    found_by_name = DEFAULT_CONFIG if study == "paper" else f"config/{study}.yaml"  # as in the Makefile
    return f"make {target} STUDY={study}" + (f" CONFIG={shlex.quote(files)}" if files != found_by_name else "")


def queued_jobs() -> list[str]:
    """This user's jobs in Slurm's queue, one line each; none where there is no Slurm."""
    try:
        command = ["squeue", "--me", "--noheader", "--format", _QUEUE_FORMAT]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired:
        raise FormsafeError("Slurm does not answer (squeue took over two minutes). Try again when it does.") from None
    has_cluster = Path("/etc/slurm/slurm.conf").exists() or "SLURM_CONF" in os.environ
    if answer.returncode and has_cluster:
        raise FormsafeError(f"Slurm does not answer (squeue: {answer.stderr.strip()}). Try again when it does.")
    return [] if answer.returncode else answer.stdout.splitlines()


def slurm_orphans(queue: Iterable[str], directory: Path, foreign_runs: set[str]) -> Iterator[Orphan]:
    """Those lines of the queue that are jobs of this workflow in `directory`, less the runs of other studies."""
    for line in queue:
        job_id, state, name, workdir, comment = line.split("|", 4)
        ours = name.startswith(f"{PREFIX}_") and name not in foreign_runs
        if ours and Path(workdir).resolve() == directory.resolve():
            yield Orphan(job_id, state.lower(), comment.removeprefix("rule_").replace("_wildcards_", "  ", 1))


def local_orphans(directory: Path) -> Iterator[Orphan]:
    """Scripts of jobs that run in `directory` on this host, outside Slurm."""
    for pid, arguments, environment in _processes_in(directory):
        script = next((part for part in arguments if ".snakemake/scripts/" in part), None)
        # its own job; a shell inside an allocation is not
        in_slurm = environment.get("SLURM_JOB_NAME", "").startswith(f"{PREFIX}_")
        if script is not None and not in_slurm and len(arguments) <= 3:
            name = re.sub(r"^tmp[^.]*\.", "", Path(script).name)
            yield Orphan(str(pid), "running", name, local=True)


def living_snakemakes(directory: Path) -> list[int]:
    """Process ids of Snakemakes that run in `directory` on this host; the inner ones of jobs do not count."""
    return [
        pid
        for pid, arguments, _ in _processes_in(directory)
        if "snakemake" in map(os.path.basename, arguments[:3]) and "--mode" not in arguments
    ]


def _descends(orphan: Orphan, ancestors: Sequence[int]) -> bool:
    """Whether a process on this host was started by one of `ancestors`, directly or not."""
    with suppress(psutil.Error):  # it has ended
        return any(parent.pid in ancestors for parent in psutil.Process(int(orphan.id)).parents())
    return False


def _logs(directory: Path) -> Iterator[tuple[Path, RunLog]]:
    """Snakemake's logs, the newest first."""
    for path in sorted(directory.glob(".snakemake/log/*.snakemake.log"), reverse=True):
        # A log of a Snakemake that was killed may end within a letter, and holds whatever jobs printed.
        yield path, read_log(path.read_text(encoding="utf-8", errors="replace"))


def _processes_in(directory: Path) -> Iterator[tuple[int, list[str], dict[str, str]]]:
    """Other processes with this working directory: number, command, environment; those of other users have none."""
    for process in psutil.process_iter(["cwd", "cmdline", "environ"]):
        if process.info["cwd"] == str(directory.resolve()) and process.pid != os.getpid():
            yield process.pid, list(filter(None, process.info["cmdline"] or [])), process.info["environ"] or {}
