"""What Snakemake's terminal shows beside its own lines: how long the rest takes, and how a Ctrl-C ends."""

import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from snakemake_interface_logger_plugins.common import LogEvent

from formsafe.core.durations import in_words, usual_seconds

STOPPED = (
    "Stopping all jobs: what is finished is kept, and what was begun goes on from its checkpoint or journal.\n"
    "Start Snakemake again as before."
)
# What Snakemake says when it is interrupted; it has no event of its own.
_INTERRUPTED = "Terminating processes on user request"


class Progress(logging.Handler):
    """Say after each job how many are done and about how long the rest takes.

    Jobs of a rule are taken to last as long as its jobs have so far, in this run or, by their benchmarks, before; as
    many run at once as have until now.

    Args:
        jobs: number of jobs to run by rule.
        benchmarks: folder of the benchmarks of earlier jobs, one folder per rule.
    """

    def __init__(self, jobs: Mapping[str, int], benchmarks: str | Path) -> None:
        super().__init__()
        self.left, self.total = Counter(jobs), sum(jobs.values())
        self._benchmarks, self._begun = Path(benchmarks), time.monotonic()
        self._running: dict[int, tuple[str, float]] = {}
        self._took: dict[str, list[float]] = defaultdict(list)
        self._before: dict[str, float | None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note the start of a job; at its end show the line."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self._running[getattr(record, "jobid", -1)] = (getattr(record, "rule_name", ""), time.monotonic())
        elif event == LogEvent.JOB_FINISHED and (known := self._running.pop(getattr(record, "job_id", -1), None)):
            rule, started = known
            self.left[rule] -= 1
            self._took[rule].append(time.monotonic() - started)
            print(self.line(time.monotonic() - self._begun), file=sys.stderr, flush=True)

    def line(self, elapsed: float) -> str:
        """How much is done, and about how long the rest takes after `elapsed` seconds."""
        waiting = sum(count for count in self.left.values() if count > 0)
        words = f"{self.total - waiting} of {self.total} jobs are done"
        usual = {rule: self._usual(rule) for rule, count in self.left.items() if count > 0}
        known = [self.left[rule] * seconds for rule, seconds in usual.items() if seconds is not None]
        if not waiting:
            return f"{words}."
        # Seconds of work per second; the first job can end within the clock's resolution.
        at_once = max(1.0, sum(map(sum, self._took.values())) / max(elapsed, 1e-9))
        unknown = sum(self.left[rule] for rule, seconds in usual.items() if seconds is None)
        rest = f"about {in_words(sum(known) / at_once)} to go" if known else "the time to go is not known yet"
        more = f", not counting {unknown} jobs of rules that none has finished of" if known and unknown else ""
        return f"{words}; {rest}{more}."

    def _usual(self, rule: str) -> float | None:
        if self._took[rule]:
            return median(self._took[rule])
        if rule not in self._before:
            self._before[rule] = usual_seconds([self._benchmarks / rule])
        return self._before[rule]


class Interruption(logging.Filter):
    """After Ctrl-C, two lines instead of Snakemake's account of every job that it ended itself."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupted = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if self.interrupted:
            return False
        if str(record.msg).startswith(_INTERRUPTED):
            self.interrupted, record.msg = True, STOPPED
        return True


def watch(logger: logging.Logger, jobs: Mapping[str, int], benchmarks: str | Path) -> Interruption:
    """Attach both to Snakemake's logger; its log file keeps every record."""
    interruption = Interruption()
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(interruption)
    logger.addHandler(Progress(jobs, benchmarks))
    return interruption
