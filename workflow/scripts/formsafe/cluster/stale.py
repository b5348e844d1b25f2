"""`make stale`: what would run, grouped by rule, the reason in words, and about how many GPU hours it takes."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from formsafe.cluster.plan import PlannedJob, all_jobs, split_arguments
from formsafe.cluster.reasons import shortened
from formsafe.core.durations import seconds_of, usual_seconds
from formsafe.core.errors import command
from formsafe.core.files import read_json

_SHOWN = 3


def report(jobs: Sequence[PlannedJob], directory: Path) -> str:
    """Write the page for all `jobs` of a study; earlier durations come from the benchmark files under `directory`."""
    planned = [job for job in jobs if job.planned]
    notes = list(_notes(jobs))
    if not planned:
        return "\n".join(["Nothing is stale: no input, setting or code has changed since.", *notes]) + "\n"
    unknown, total = [], 0.0
    width = max(len(job.rule) for job in planned)
    indent = "\n" + " " * (width + 19)
    lines = [f"{len(planned)} jobs would run.", "", f"{'rule':<{width}}  jobs  GPU hours  why"]
    for rule, count in Counter(job.rule for job in planned).items():
        of_rule = [job for job in planned if job.rule == rule]
        reasons = Counter(words for job in of_rule for words in job.why or ["Snakemake says so"])
        cost = gpu_hours(of_rule, directory)
        total += cost or 0.0
        if cost is None:
            unknown.append(rule)
        hours = "unknown" if cost is None else f"{cost:.2f}" if cost else "-"
        lines.append(f"{rule:<{width}}  {count:>4}  {hours:>9}  {indent.join(_summed_up(reasons, count))}")
    lines += ["", f"About {total:.1f} GPU hours, by the durations of earlier jobs."]
    if unknown:
        lines += [f"Not counted, since no job of it has finished yet: {', '.join(unknown)}."]
    return "\n".join([*lines, *notes]) + "\n"


def _notes(jobs: Sequence[PlannedJob]) -> Iterator[str]:
    # Outputs that were deleted although no planned job makes them: what was made from them is still there.
    gone = [path for job in jobs if not job.planned for path in job.gone]
    if gone:
        yield f"{len(gone)} files are gone, but nothing that is left to do needs them: {shortened(gone)}."
        yield "To make one again, name it as the target: snakemake FILE."
    # Results without a record: nobody can tell with which settings and code they were made.
    unrecorded = [job.outputs[0] for job in jobs if job.unrecorded and not job.planned and not job.gone]
    if unrecorded:
        yield f"{len(unrecorded)} results have no record of settings and code: {shortened(unrecorded)}."
        yield "If Snakemake was killed, `make recover` enters what its jobs finished. Else: snakemake --force FILE."


def _summed_up(reasons: Counter[str], jobs: int) -> list[str]:
    """The most frequent reasons first, each with its number where it does not hold for all jobs."""
    lines = [words if count == jobs else f"{words} ({count})" for words, count in reasons.most_common()]
    return lines if len(lines) <= _SHOWN + 1 else [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more reasons"]


def gpu_hours(jobs: Iterable[PlannedJob], directory: Path) -> float | None:
    """GPU hours of jobs of one rule: each as long as it took last time, with all its starts, else as the rule's median.

    Returns:
        0 for a rule without GPU, None where no job of the rule has run yet.
    """
    on_gpu = [job for job in jobs if job.gpus]
    if not on_gpu:
        return 0.0
    # The folder of a rule's benchmarks is the one of its name on the way to the job's own.
    roots = {parent for job in on_gpu for parent in Path(job.benchmark or "").parents if parent.name == job.rule}
    usual = usual_seconds(directory / root for root in roots)
    return None if usual is None else sum(job.gpus * _took(job, directory, usual) for job in on_gpu) / 3600


def _took(job: PlannedJob, directory: Path, usual: float) -> float:
    """Seconds of a job: by its benchmark, which counts its last start, or by its metrics, which count what it kept."""
    started = seconds_of(directory / (job.benchmark or ""))
    if started is None:
        return usual
    metrics = [directory / path for path in job.outputs if path.endswith("metrics.json")]
    return max([started, *(read_json(path)["seconds"] for path in metrics if path.exists())])


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Command line: `python -m formsafe.cluster.stale [--warn] -- SNAKEMAKE ARGUMENTS`."""
    parser = argparse.ArgumentParser(prog="stale", description=__doc__)
    parser.add_argument("--warn", action="store_true", help="one line where anything is stale, else nothing")
    words, arguments = split_arguments(sys.argv[1:] if argv is None else argv)
    chosen = parser.parse_args(words)
    directory = Path.cwd()
    jobs = all_jobs(arguments, directory)
    if not chosen.warn:
        print(report(jobs, directory), end="")
    elif stale := [job for job in jobs if job.planned]:
        print(f"warning: {len(stale)} results are stale; the report shows the old ones (make stale says why).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
