"""`make stale`: what would run, grouped by rule, the reason in words, and about how many GPU hours it takes."""

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from formsafe.cluster.plan import PlannedJob, planned_jobs, split_arguments
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json

_CHANGED = re.compile(r"Params have changed since last execution:.*? before: (.*?) now: (.*?)\s*$")
# A setting may hold "; " itself.
_NEXT_REASON = re.compile(
    r"; (?=Missing output|Input files|Updated input|Params have|Set of input|Code has|Software env|Incomplete|Forced)"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 3


def report(jobs: Sequence[PlannedJob], directory: Path) -> str:
    """Write the page for `jobs`; earlier durations come from the benchmark files under `directory`."""
    if not jobs:
        return "Nothing is stale: every result is newer than what it was made from.\n"
    makers = {file: job.rule for job in jobs for file in job.outputs}
    rows, unknown, total = [], [], 0.0
    for rule, count in Counter(job.rule for job in jobs).items():
        of_rule = [job for job in jobs if job.rule == rule]
        reasons = Counter(words for job in of_rule for words in set(explain(job, makers)))
        cost = gpu_hours(of_rule, directory)
        rows.append((rule, count, _summed_up(reasons, count), cost))
        total += cost or 0.0
        if cost is None:
            unknown.append(rule)
    width = max(len(rule) for rule, *_ in rows)
    lines = [f"{len(jobs)} jobs would run.", "", f"{'rule':<{width}}  jobs  GPU hours  why"]
    for rule, count, why, cost in rows:
        hours = "unknown" if cost is None else f"{cost:.2f}" if cost else "-"
        lines += [f"{rule:<{width}}  {count:>4}  {hours:>9}  {why[0]}"]
        lines += [f"{'':<{width + 19}}{more}" for more in why[1:]]
    lines += ["", f"About {total:.1f} GPU hours, by the durations of earlier jobs."]
    if unknown:
        lines += [f"Not counted, for want of an earlier job: {', '.join(unknown)}."]
    return "\n".join(lines) + "\n"


def explain(job: PlannedJob, makers: Mapping[str, str]) -> Iterator[str]:
    """Say in words why `job` runs.

    Args:
        job: a job of a plan.
        makers: the rule that makes each file of the plan.
    """
    for reason in _NEXT_REASON.split(job.reason):
        head, _, rest = reason.partition(": ")
        files = rest.split(", ") if rest else []
        if head.startswith("Missing output"):
            yield "not made yet"
        elif head.startswith("Input files updated by another job"):
            rules = dict.fromkeys(makers.get(file, "another job") for file in files)
            yield f"after {', '.join(rules)}"
        elif head.startswith("Updated input files"):
            yield f"changed input: {', '.join(files[:_SHOWN])}{', ...' if len(files) > _SHOWN else ''}"
        elif head.startswith("Params have changed"):
            yield from _changed_parameters(reason)
        elif head.startswith("Set of input files has changed"):
            yield "other inputs than before"
        elif head.startswith("Software environment"):
            yield "its software environment changed"
        elif head.startswith("Incomplete"):
            yield "was killed half-way"
        else:
            yield head[:1].lower() + head[1:]


def _changed_parameters(reason: str) -> Iterator[str]:
    found = _CHANGED.match(reason)
    try:
        before, now = (ast.literal_eval(f"[{side}]") for side in found.groups()) if found else ([], [])
    except (ValueError, SyntaxError):
        before, now = [], []
    if not before and not now:
        yield "other settings than before"
        return
    if any(_is_digest(value) for value in [*before, *now]):
        yield "its code changed"
    old, new = ([value for value in side if not _is_digest(value)] for side in (before, now))
    for value in new:
        partner = max(old, key=lambda other: _likeness(other, value), default=None)
        if partner is not None:
            old.remove(partner)
            yield from _differences(partner, value)
        else:
            yield f"new setting: {_short(value)}"
    yield from (f"setting gone: {_short(value)}" for value in old)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _likeness(left: Any, right: Any) -> float:
    if isinstance(left, dict) and isinstance(right, dict):
        return len(left.keys() & right.keys()) / max(1, len(left.keys() | right.keys())) + 1
    return float(type(left) is type(right))


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs between two values of a setting; of lists only the entries that came or went."""
    setting = f"setting {name}" if name else "a setting"
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            if before.get(key) != now.get(key):
                yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(before, list) and isinstance(now, list):
        for words, some, others in (("now also has", now, before), ("no longer has", before, now)):
            if entries := [entry for entry in some if entry not in others]:
                yield f"{setting} {words} {_short(entries[0])}{f' and {len(entries) - 1} more' * (len(entries) > 1)}"
    else:
        yield f"{setting} changed: {_short(before)} to {_short(now)}"


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 100 else repr(value)[:97] + "..."


def _summed_up(reasons: Counter[str], jobs: int) -> list[str]:
    """The commonest reasons first, each with its number where it does not hold for all jobs."""
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
    own = [_took(job, directory) for job in on_gpu]
    roots = {root for job in on_gpu if (root := _benchmark_root(job)) is not None}
    known = [seconds for root in roots for file in (directory / root).rglob("*.tsv") if (seconds := _seconds(file))]
    if not known:
        return None
    usual = median(known)
    times = [usual if seconds is None else seconds for seconds in own]
    return sum(job.gpus * seconds for job, seconds in zip(on_gpu, times, strict=True)) / 3600


def _benchmark_root(job: PlannedJob) -> Path | None:
    """The folder of a rule's benchmarks: the one of its name on the way to the job's own."""
    for parent in Path(job.benchmark or "").parents:
        if parent.name == job.rule:
            return parent
    return None


def _took(job: PlannedJob, directory: Path) -> float | None:
    """Seconds of a job: by its benchmark, which counts its last start, or by its metrics, which count what it kept."""
    started = None if job.benchmark is None else _seconds(directory / job.benchmark)
    if started is None:
        return None
    metrics = [directory / path for path in job.outputs if path.endswith("metrics.json")]
    return max([started, *(read_json(path)["seconds"] for path in metrics if path.exists())])


def _seconds(benchmark: Path) -> float | None:
    """The duration in a benchmark file (first column, seconds), or None."""
    try:
        header, row = benchmark.read_text().splitlines()[:2]
        return float(row.split("\t")[header.split("\t").index("s")])
    except (OSError, ValueError):
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: `python -m formsafe.cluster.stale -- SNAKEMAKE ARGUMENTS`."""
    words, arguments = split_arguments(sys.argv[1:] if argv is None else argv)
    argparse.ArgumentParser(prog="stale", description=__doc__).parse_args(words)
    try:
        directory = Path.cwd()
        print(report(planned_jobs(arguments, directory), directory), end="")
    except FormsafeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
