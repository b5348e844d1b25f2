"""Snakemake's records of how results were made, kept with the results.

Snakemake compares parameters, code and inputs with its records in `.snakemake/metadata`. A copy of `results/` without
that folder, or beside the records of another study, would be taken as it is, whatever its settings were. So each study
carries a copy of its records, with the digests of the files that they describe: `results/{study}/records.jsonl.gz`.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from formsafe.core.errors import FormsafeError
from formsafe.core.files import file_digest, replacing, write_text

NAME = "records.jsonl.gz"
# Stored as the parameters of a file that is not the recorded one: it equals no rule's parameters, so that Snakemake
# makes the file again.
_ANOTHER = "'another file than the one that was recorded'"
# Seconds by which a file's time and the same time in its record differ at most.
_SAME_TIME = 0.01
Record = dict[str, Any]


def keep_records(folder: Path, directory: Path) -> None:
    """Write a copy of all records of files below `folder`.

    Args:
        folder: the results of a study, as a path from `directory`.
        directory: where Snakemake runs.
    """
    kept = {entry["path"]: entry for entry in _read(directory / folder)}
    entries = []
    for path, record in _records(directory):
        if record is not None and path.startswith(f"{folder.as_posix()}/") and (directory / path).is_file():
            known = kept.get(path)
            if known is None or known["record"] != record:
                known = {"path": path, "digest": file_digest(directory / path), "record": record}
            entries.append(known)
    if entries and entries != list(kept.values()):
        with replacing(directory / folder / NAME) as temporary, gzip.open(temporary, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps(entry) + "\n" for entry in entries)
        _mark(folder, directory)


def restore_records(folder: Path, directory: Path) -> int:
    """Give Snakemake the records that came with `folder`, if they are not its own; returns how many.

    A file that is not the one that its record describes gets a record with false parameters, so that it is made again.
    """
    source, mark = directory / folder / NAME, _marker(folder, directory)
    if not source.is_file() or (mark.is_file() and mark.read_text() == file_digest(source)):
        return 0
    there = [entry for entry in _read(directory / folder) if (directory / entry["path"]).is_file()]
    for entry in there:
        same = file_digest(directory / entry["path"]) == entry["digest"]
        file = record_file(directory, entry["path"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(entry["record"] if same else {**entry["record"], "params": [_ANOTHER]}))
    _mark(folder, directory)
    return len(there)


def require_records(results: Iterable[str], folder: Path, directory: Path, recover: str) -> None:
    """Raise FormsafeError where there are results, but a record of none of them.

    Args:
        results: files that jobs make, whether there or not.
        folder: the results of the study.
        directory: where Snakemake runs.
        recover: the call that enters what jobs finished after their Snakemake was killed.
    """
    if any((directory / ".snakemake/locks").glob("*")):
        return  # a Snakemake is at work, which enters what its jobs finish, or was killed, which `recover` is for
    there, unrecorded = _there_and_unrecorded(results, directory)
    if there and unrecorded == there:
        raise FormsafeError(
            f"Nobody can tell how the results in {folder} were made: copy {folder / NAME} (or the folder "
            f".snakemake/metadata) along with them, or delete {folder}. If their Snakemake was killed: {recover}. To "
            "take them as made with these settings and this code: snakemake --touch."
        )


def refuse_unrecorded(results: Iterable[str], directory: Path, recover: str) -> None:
    """Raise FormsafeError where a result has no record: a later change of its settings or code would not be seen.

    The arguments are those of `require_records`. For the start of jobs, when no other Snakemake is at work.
    """
    if unrecorded := _there_and_unrecorded(results, directory)[1]:
        raise FormsafeError(
            f"Snakemake has no record of {len(unrecorded)} results, the first of them {unrecorded[0]}: their jobs "
            f"finished after it was killed. Enter them: {recover}"
        )


def _there_and_unrecorded(results: Iterable[str], directory: Path) -> tuple[list[str], list[str]]:
    unfinished = unfinished_outputs(directory)
    there = [path for path in results if (directory / path).is_file() and path not in unfinished]
    return there, [path for path in there if _record(record_file(directory, path)) is None]


def finished_unseen(jobs: Iterable[Sequence[str]], since: float, directory: Path) -> list[Sequence[str]]:
    """The jobs that finished without the knowledge of their Snakemake, so that records are missing or older.

    A job under Snakemake itself still has the mark of an unfinished one. In a job of Slurm a Snakemake of its own
    removes the mark, but leaves the record to the one that submitted it.

    Args:
        jobs: the outputs of each, all there.
        since: when that Snakemake started, in seconds since the epoch; older files are none of its doing.
        directory: where Snakemake runs.
    """
    unfinished, found = unfinished_outputs(directory), []
    for outputs in jobs:
        if not unfinished.isdisjoint(outputs) or any(_is_newer(path, since, directory) for path in outputs):
            found.append(outputs)
    return found


def record_unseen(workflow: Any, since: float, directory: Path) -> int:
    """Enter the results of jobs in Slurm that finished between Snakemake's last look at them and Ctrl-C.

    Args:
        workflow: Snakemake's, that was interrupted.
        since: when it started, in seconds since the epoch.
        directory: where it runs.

    Returns:
        How many jobs.
    """
    unfinished, count = unfinished_outputs(directory), 0
    for job in workflow.dag.needrun_jobs():
        outputs = [str(output) for output in job.output]
        files = [directory / output for output in outputs]
        made = all(file.exists() and file.stat().st_mtime >= since for file in files)
        if made and unfinished.isdisjoint(outputs) and any(_is_newer(path, since, directory) for path in outputs):
            workflow.async_run(workflow.persistence.finished(job))
            count += 1
    return count


def _is_newer(path: str, since: float, directory: Path) -> bool:
    """Whether a file was made since then and after the end time in its record."""
    made = (directory / path).stat().st_mtime
    recorded = (_record(record_file(directory, path)) or {}).get("endtime")
    return made >= since and (recorded is None or made - recorded > _SAME_TIME)


def unfinished_outputs(directory: Path) -> set[str]:
    """Outputs of jobs that Snakemake started and did not see the end of: it marks them until then."""
    folder = directory / ".snakemake/incomplete"
    return {path_of(marker.relative_to(folder)) for marker in folder.rglob("*") if marker.is_file()}


def _read(folder: Path) -> Iterator[Record]:
    if (folder / NAME).is_file():
        with gzip.open(folder / NAME, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _records(directory: Path) -> Iterator[tuple[str, Record | None]]:
    """All records of Snakemake with the paths of their files."""
    folder = directory / ".snakemake/metadata"
    for file in filter(Path.is_file, sorted(folder.rglob("*"))):
        yield path_of(file.relative_to(folder)), _record(file)


def _record(file: Path) -> Record | None:
    """A record of Snakemake; None where there is none, or a kill or a full disk left it torn, as Snakemake has it."""
    try:
        found = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def path_of(record: Path) -> str:
    """The path whose base64 is the name of a record; of a long one, parts are folders with a leading @."""
    return base64.urlsafe_b64decode("".join(part.removeprefix("@") for part in record.parts)).decode()


def record_file(directory: Path, path: str, longest: int = 255) -> Path:
    """Where Snakemake keeps the record of a file: the other way of `path_of`."""
    name = base64.urlsafe_b64encode(path.encode()).decode()
    parts = [name[start : start + longest - 1] for start in range(0, len(name), longest - 1)]
    return Path(directory, ".snakemake/metadata", *(f"@{part}" for part in parts[:-1]), parts[-1])


def _marker(folder: Path, directory: Path) -> Path:
    """Says which copy of a study's records Snakemake's own ones agree with."""
    return directory / ".snakemake/formsafe" / folder.as_posix().replace("/", "+")


def _mark(folder: Path, directory: Path) -> None:
    write_text(_marker(folder, directory), file_digest(directory / folder / NAME))
