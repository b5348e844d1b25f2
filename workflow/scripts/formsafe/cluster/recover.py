"""`make recover`: after Snakemake itself was killed, deal with its orphans, keep what they finish, and unlock."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from formsafe.cluster.orphans import (
    Orphan,
    find_orphans,
    living_snakemakes,
    make_command,
    newest_log,
    started_elsewhere,
)
from formsafe.cluster.plan import all_jobs, config_files, run_snakemake, split_arguments, words_after
from formsafe.cluster.records import finished_unseen
from formsafe.core.errors import FormsafeError, command
from formsafe.core.files import is_below, refuse_links_below
from formsafe.core.layout import Layout

POLL_SECONDS = 5.0
CODE = ("Snakefile", "workflow", "config")


def recover(
    study: str, orphans: str | None, arguments: Sequence[str], directory: Path, elsewhere_is_dead: bool = False
) -> bool:
    """Make `study` ready to go on.

    Args:
        study: its name.
        orphans: `wait` for them, `cancel` them, or None to list them only.
        arguments: what Snakemake is called with for this study (`--configfile ...`).
        directory: the checkout.
        elsewhere_is_dead: a Snakemake that was started on another host is known to be dead.

    Returns:
        Whether the study can go on; False while orphans live and nothing was said about them.

    Raises:
        FormsafeError: a Snakemake lives here, or may live on another host.
    """
    if living := living_snakemakes(directory):
        raise FormsafeError(
            f"Snakemake still runs here (process {', '.join(map(str, living))}). Let it work, or end it: Ctrl-C "
            "cancels its jobs."
        )
    refuse_links_below(directory / Layout(study).root)
    command = make_command("recover", study, config_files(arguments), directory)
    if not elsewhere_is_dead and (host := started_elsewhere(directory, study)):
        raise FormsafeError(
            f"Snakemake was started on {host}, and from here nobody can tell whether it still runs. Go there and call\n"
            f"  {command}\nor, where it is known to be dead, add FORCE=1."
        )
    found = find_orphans(directory, study)
    if found and orphans is None:
        print(f"{len(found)} jobs of a killed Snakemake are still at work on {study!r}:")
        print("\n".join(f"  {orphan}" for orphan in found))
        print(f"Wait for them:  {command} ORPHANS=wait")
        print(f"Cancel them:    {command} ORPHANS=cancel")
        return False
    run_snakemake(["--list", *arguments], directory)  # a mistake in the configuration shows before hours of waiting
    if found and orphans == "cancel":
        _cancel(found)
    _wait(directory, study)
    _unlock(study, arguments, directory)
    return True


def _unlock(study: str, arguments: Sequence[str], directory: Path) -> None:
    run_snakemake(["--unlock", *arguments], directory)
    for leftover in directory.glob(".snakemake/tmp.*"):
        # Another process may remove its own at the same time.
        shutil.rmtree(leftover, ignore_errors=True)
    for script in directory.glob(".snakemake/scripts/tmp*"):
        script.unlink(missing_ok=True)
    _keep_finished(study, arguments, directory)
    print(f"The study {study!r} is unlocked. Start Snakemake as before: it goes on where its jobs ended.")


def _cancel(orphans: Sequence[Orphan]) -> None:
    in_slurm = [orphan.id for orphan in orphans if not orphan.local]
    if in_slurm and (status := subprocess.run(["scancel", *in_slurm]).returncode):
        raise FormsafeError(
            f"Slurm's scancel failed (exit status {status}; see its words above), so jobs {', '.join(in_slurm)} may go "
            "on and the study stays locked. Call the same again when Slurm answers, or with ORPHANS=wait."
        )
    for orphan in orphans:
        if orphan.local:
            with suppress(ProcessLookupError):  # it ended a moment ago
                os.kill(int(orphan.id), signal.SIGTERM)
    print(f"Cancelled {len(orphans)} jobs; they continue from their checkpoints.")


def _wait(directory: Path, study: str) -> None:
    told = -1
    while found := find_orphans(directory, study):
        if len(found) != told:
            told = len(found)
            print(f"Waiting for {told} jobs.", flush=True)
        time.sleep(POLL_SECONDS)


def _keep_finished(study: str, arguments: Sequence[str], directory: Path) -> None:
    """Enter what orphans finished into Snakemake's records, which alone tell it of later changes.

    Results of code that was edited meanwhile cannot be told from others, so they are made again.
    """
    if not (newest := newest_log(directory, study)):
        return
    path, log = newest
    # Old marks and records do not cover jobs that finished unseen, so compare the files' times.
    lenient = ["--ignore-incomplete", "--rerun-triggers", "mtime"]
    there = [job.outputs for job in all_jobs([*lenient, *arguments], directory) if not (job.planned or job.gone)]
    if not (finished := finished_unseen(there, _start_of(path), directory)):
        return
    before, now = (sorted(words_after(("--config", "-C"), words)) for words in (log.command, arguments))
    if before != now or _edited_since(path, directory, config_files(arguments)):
        # The jobs are Snakemake's own, not those that a log names; nothing outside the checkout is ours to delete.
        for file in (directory / file for files in finished for file in files):
            if is_below(file, directory) or is_below(file, directory / "results"):
                file.unlink(missing_ok=True)
        print(f"{len(finished)} jobs finished meanwhile, but code or settings were edited: they are run again.")
        return
    firsts = [files[0] for files in finished]
    run_snakemake(["--touch", "--cores", "1", *lenient, *arguments, "--force", "--", *firsts], directory)
    print(f"Kept the results of {len(firsts)} jobs that finished meanwhile.")


def _edited_since(log: Path, directory: Path, more: Sequence[str]) -> bool:
    """Whether code or settings (`more`: files of these) are newer than the start of a Snakemake. What the workflow
    itself writes there does not count, nor do guides."""
    started = _start_of(log)
    sources = (file for name in (*CODE, *more) for file in [directory / name, *(directory / name).rglob("*")])
    return any(
        file.stat().st_mtime > started
        for file in sources
        if file.is_file()
        and "__pycache__" not in file.parts
        and "sources.lock.yaml" not in file.name
        and file.suffix != ".md"
    )


def _start_of(log: Path) -> float:
    """When a Snakemake started, in seconds since the epoch: its log's name tells."""
    return time.mktime(time.strptime(log.name.split(".")[0], "%Y-%m-%dT%H%M%S"))


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Command line: `python -m formsafe.cluster.recover STUDY [--wait | --cancel] [--force] -- SNAKEMAKE ARGUMENTS`."""
    parser = argparse.ArgumentParser(prog="recover", description=__doc__)
    parser.add_argument("study")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--wait", dest="orphans", action="store_const", const="wait", help="let them finish")
    choice.add_argument("--cancel", dest="orphans", action="store_const", const="cancel", help="cancel them")
    parser.add_argument("--force", action="store_true", help="a Snakemake on another host is known to be dead")
    words, arguments = split_arguments(sys.argv[1:] if argv is None else argv)
    chosen = parser.parse_args(words)
    return 0 if recover(chosen.study, chosen.orphans, arguments, Path.cwd(), chosen.force) else 1


if __name__ == "__main__":
    sys.exit(main())
