"""`make recover`: after Snakemake itself was killed, deal with its orphans, keep what they finish, and unlock."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from formsafe.errors import FormsafeError
from formsafe.orphans import Orphan, find_orphans, living_snakemakes, newest_log, recover_command
from formsafe.plan import config_files, planned_jobs, run_snakemake, split_arguments

POLL_SECONDS = 5.0
CODE = ("Snakefile", "workflow", "config")


def recover(study: str, orphans: str | None, arguments: Sequence[str], directory: Path) -> bool:
    """Make `study` ready to go on.

    Args:
        study: its name.
        orphans: `wait` for them, `cancel` them, or None to list them only.
        arguments: what Snakemake is called with for this study (`--configfile ...`).
        directory: the checkout.

    Returns:
        Whether the study can go on; False while orphans live and nothing was said about them.
    """
    if living := living_snakemakes(directory):
        raise FormsafeError(
            f"Snakemake still runs here (process {', '.join(map(str, living))}). Let it work, or end it: Ctrl-C "
            "cancels its jobs."
        )
    found = find_orphans(directory, study)
    if found and orphans is None:
        print(f"{len(found)} jobs of a killed Snakemake are still at work on {study!r}:")
        print("\n".join(f"  {orphan}" for orphan in found))
        command = recover_command(study, config_files(arguments), directory)
        print(f"Wait for them:  {command} ORPHANS=wait")
        print(f"Cancel them:    {command} ORPHANS=cancel")
        return False
    run_snakemake(["--list", *arguments], directory)  # a mistake in the configuration is told before hours of waiting
    if found and orphans == "cancel":
        _cancel(found)
    _wait(directory, study)
    run_snakemake(["--unlock", *arguments], directory)
    for leftover in directory.glob(".snakemake/tmp.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    _keep_finished(study, arguments, directory)
    print(f"The study {study!r} is unlocked. Start Snakemake as before: it goes on where its jobs ended.")
    return True


def _cancel(orphans: Sequence[Orphan]) -> None:
    in_slurm = [orphan.id for orphan in orphans if not orphan.local]
    if in_slurm:
        subprocess.run(["scancel", *in_slurm], check=True)
    for orphan in orphans:
        if orphan.local:
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
    newest = newest_log(directory, study)
    if newest is None:
        return
    path, log = newest
    planned = {file for job in planned_jobs(arguments, directory) for file in job.outputs}
    finished = [
        files
        for files in log.open_outputs.values()
        if files and not planned & set(files) and all((directory / file).exists() for file in files)
    ]
    if not finished:
        return
    if _edited_since(directory, path):
        for file in (file for files in finished for file in files):
            (directory / file).unlink(missing_ok=True)
        print(f"{len(finished)} jobs finished meanwhile, but code or settings were edited: they are run again.")
        return
    firsts = [files[0] for files in finished]
    run_snakemake(["--touch", "--cores", "1", *arguments, "--force", "--", *firsts], directory)
    print(f"Kept the results of {len(firsts)} jobs that finished meanwhile.")


def _edited_since(directory: Path, log: Path) -> bool:
    """Whether code or settings are newer than the start of a Snakemake, which its log's name tells."""
    started = time.mktime(time.strptime(log.name.split(".")[0], "%Y-%m-%dT%H%M%S"))
    sources = (file for name in CODE for file in [directory / name, *(directory / name).rglob("*")])
    return any(file.stat().st_mtime > started for file in sources if file.is_file() and "__pycache__" not in file.parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: `python -m formsafe.recover STUDY [--wait | --cancel] -- SNAKEMAKE ARGUMENTS`."""
    parser = argparse.ArgumentParser(prog="recover", description=__doc__)
    parser.add_argument("study")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--wait", dest="orphans", action="store_const", const="wait", help="let them finish")
    choice.add_argument("--cancel", dest="orphans", action="store_const", const="cancel", help="cancel them")
    words, arguments = split_arguments(sys.argv[1:] if argv is None else argv)
    chosen = parser.parse_args(words)
    try:
        return 0 if recover(chosen.study, chosen.orphans, arguments, Path.cwd()) else 1
    except FormsafeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
