"""The demo study on a cluster on which everything goes wrong once, and what was seen of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.slurm.lab import CPUS, Lab, queue, records

# Shorter waits than the profile's, which are meant for jobs of hours.
# The demo without its learning-rate sweep and traces of refusals: sixteen more jobs in which nothing happens.
SMALLER = """
first_tokens: null
grid:
  - {models: [demo], methods: [base, sft, promot], formats: [prose, list, json], learning_rates: [6.5e-4], seeds: [0]}
"""
STUDY = ["--configfile", "config/demo.yaml", "storm.yaml"]
HURRY = [
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--max-status-checks-per-second",
    "1",
    "--latency-wait",
    "10",
]
PATIENCE = 900
# What a stage leaves in a run's folder when it has come some way. Each is of one rule: the judge of refusals, which
# shares the run, has a journal of its own.
CHECKPOINTS = "adapter/.checkpoints/checkpoint-*"
ANSWERS = ".answers.journal.jsonl"
SCORES = "prompts=harmful/judge=*/.judge.journal.jsonl"


def key(record: dict[str, str]) -> tuple[str, str]:
    """What tells one start of a job from all others."""
    return record["JobIDRaw"], record["Start"]


def has(run: Path, progress: str) -> bool:
    """Whether a run has a checkpoint, or a journal with at least one batch, of this name."""
    try:
        return any(path.is_dir() or b'"replies"' in path.read_bytes() for path in run.glob(progress))
    except FileNotFoundError:  # its stage has just ended
        return False


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal; raises ProcessLookupError where a process has ended."""
    for pid in pids:
        os.kill(pid, number)


class Storm:
    """Carries the study through; the attributes hold which jobs were hit and what was said."""

    def __init__(self, lab: Lab, checkout: Path) -> None:
        self.lab = lab
        self.checkout = checkout
        self.hit: dict[str, dict[str, str]] = {}
        self.said: dict[str, subprocess.CompletedProcess[str]] = {}
        self.times: list[tuple[float, str]] = []
        self.logged: defaultdict[str, set[str]] = defaultdict(set)
        self.accounting_away = 0.0
        self.environment = lab.environment() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self) -> None:
        """The whole story."""
        (self.checkout / "storm.yaml").write_text(SMALLER)
        profile = self.checkout / "profiles/slurm/config.yaml"
        profile.write_text(profile.read_text().replace("# cpu_partition:", "cpu_partition:"))
        over = threading.Event()
        reader = threading.Thread(target=self.read_logs, args=[over])
        reader.start()
        try:
            self.tell()
        finally:
            over.set()
            reader.join()

    def read_logs(self, over: threading.Event) -> None:
        """Collect the lines of the logs of jobs that were hit: Snakemake removes a job's log when it starts it anew."""
        while not over.wait(0.5):
            for name, job in list(self.hit.items()):
                with suppress(FileNotFoundError):
                    self.logged[name].update((self.checkout / job["log"]).read_text(errors="replace").splitlines())

    def tell(self) -> None:
        """One thing after the other."""
        snakemake = self.start_snakemake("first")
        try:
            self.cancel("cancelled training", "train_adapter", CHECKPOINTS)
            self.let_run_over_its_limit("training over its limit")
            self.node_dies("training on a dead node")
            self.accounting_goes_away_and_the_controller_restarts()
            self.preempt("preempted")
            self.cancel("cancelled judging", "judge_answers", SCORES)
            late = self.hit["training over its limit"]
            self.until("a second attempt of the job over its limit", lambda: self.tried_again(late))
            self.until("two jobs at work", lambda: len(queue("RUNNING")) >= 2)
            self.note("kill -9 of Snakemake")
            self.orphans = queue("RUNNING", "PENDING")
        finally:
            snakemake.send_signal(signal.SIGKILL)
            snakemake.wait()
        self.said["started beside orphans"] = self.snakemake("--unlock") and self.snakemake()
        self.said["listed"] = self.recover()
        self.said["waited"] = self.recover("--wait")
        self.note("second Snakemake")
        self.second = self.start_snakemake("second").wait(900)
        self.note("end")
        self.records = [self.ended_before.get(key(record), record) for record in records()]

    def start_snakemake(self, name: str) -> subprocess.Popen[bytes]:
        """Start `snakemake --profile slurm`; what it says goes to a file beside the checkout."""
        with open(self.checkout.parent / f"{name}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--profile", "slurm", *STUDY, *HURRY],
                cwd=self.checkout,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call Snakemake and wait for it."""
        return self._call("-m", "snakemake", "--profile", "slurm", *STUDY, *HURRY, *arguments)

    def recover(self, *choice: str) -> subprocess.CompletedProcess[str]:
        """Call what `make recover` calls."""
        return self._call("-m", "formsafe.cluster.recover", "demo", *choice, "--", *STUDY)

    def _call(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment | {"PYTHONPATH": str(self.checkout / "workflow" / "scripts")}
        return subprocess.run(
            [sys.executable, *command], cwd=self.checkout, env=environment, capture_output=True, text=True, timeout=600
        )

    # What goes wrong.

    def cancel(self, name: str, rule: str, progress: str) -> None:
        """`scancel` of a job that has come some way."""
        job = self.running(name, rule, progress)
        subprocess.run(["scancel", job["id"]], check=True)

    def let_run_over_its_limit(self, name: str) -> None:
        """A training job stands still, so that a limit of one minute ends it."""
        job = self.running(name, "train_adapter", CHECKPOINTS)
        subprocess.run(["scontrol", "update", f"jobid={job['id']}", "TimeLimit=1"], check=True)

    def node_dies(self, name: str) -> None:
        """A node loses its power while it trains, and comes back."""
        standing = self.hit["training over its limit"]["node"]
        job = self.running(name, "train_adapter", CHECKPOINTS, not_on=standing)
        self.lab.kill_node(job["node"])
        gone = {"id": job["id"], "node": job["node"]}
        self.until("requeue of the dead node's job", lambda: self.state_of(gone) != ("RUNNING", gone["node"]))
        self.lab.start_node(job["node"])

    def accounting_goes_away_and_the_controller_restarts(self) -> None:
        """slurmdbd is away for a minute, in which slurmctld restarts."""
        # The controller of Slurm 22.05 then tells accounting anew of jobs that ended before, without their GPUs.
        self.ended_before = {key(record): record for record in records() if record["End"] != "Unknown"}
        self.note("accounting goes away")
        self.lab.stop("slurmdbd")
        left = time.monotonic()
        self.lab.stop("slurmctld")
        time.sleep(5)
        self.lab.start_controller()
        self.note("controller is back")
        time.sleep(max(0.0, left + 60 - time.monotonic()))
        self.lab.start_accounting()
        self.accounting_away = time.monotonic() - left
        self.note("accounting is back")

    def preempt(self, name: str) -> None:
        """An urgent job takes all processors of a node on which answers are generated.

        Not its GPUs, which `--exclusive` would ask for, too: a controller that restarts while a job starts may count
        one of them as taken for good (Slurm 22.05), and the urgent job would wait for ever.
        """
        job = self.running(name, "generate_answers", ANSWERS)
        urgent = ["sbatch", "-p", "urgent", f"--cpus-per-task={CPUS}", "--nodes=1", "--mem=100", "-o", "/dev/null"]
        subprocess.run([*urgent, f"--nodelist={job['node']}", "--wrap", "sleep 2"], check=True, env=self.environment)

    # What is looked at.

    def running(self, name: str, rule: str, progress: str, not_on: str = "") -> dict[str, str]:
        """Wait for a job of `rule`, of a run not hit before, that has left `progress`; remember it as `name`.

        It is made to stand still there: a short job may end before the event reaches it.
        """
        found: dict[str, Any] = {}

        def look() -> bool:
            struck = {job["comment"] for job in self.hit.values()}
            new = [job for job in queue("RUNNING") if job["comment"] not in struck and job["node"] != not_on]
            for job in new:
                if job["comment"].startswith(f"rule_{rule}_"):
                    run = self.run_folder(job["comment"])
                    if run is not None and self.hold(job, progress, run):
                        path = str(run.relative_to(self.checkout / "results/demo/runs"))
                        (log,) = (self.checkout / "logs/demo" / rule).glob(f"**/{path}.log")
                        found.update(job, log=str(log.relative_to(self.checkout)))
                        return True
            return False

        self.until(name, look)
        self.hit[name] = found
        self.note(f"{name}: {found['log']}")
        return found

    def hold(self, job: dict[str, str], progress: str, run: Path) -> bool:
        """Let a job's script run in short slices until it has left `progress`, and stand still; False if it ended.

        To look now and then would miss it: a judge of short answers is done half a second after its first batch.
        """
        pids = self.processes_of(job)
        with suppress(ProcessLookupError):
            while pids:
                signal_all(pids, signal.SIGSTOP)
                if has(run, progress):
                    return True
                signal_all(pids, signal.SIGCONT)
                time.sleep(0.02)
        return False

    def run_folder(self, comment: str) -> Path | None:
        """The folder of the run whose fields stand in a job's comment, which may name a judge, too."""
        fields = Counter(comment.partition("_wildcards_")[2].split("_"))
        for folder in self.checkout.glob("results/demo/runs/*/*/*/*/*"):
            parts = folder.relative_to(self.checkout / "results/demo/runs").parts
            if Counter(part.partition("=")[2] for part in parts) <= fields:
                return folder
        return None

    def processes_of(self, job: dict[str, str]) -> list[int]:
        """The processes of a Slurm job that are its script's."""
        found = []
        for pid in self.lab.processes():
            try:
                environment = Path(f"/proc/{pid}/environ").read_text(errors="replace")
                command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
            except OSError:
                continue
            if f"SLURM_JOB_ID={job['id']}\0" in environment and ".snakemake/scripts/" in command:
                found.append(pid)
        return found

    @staticmethod
    def state_of(job: dict[str, str]) -> tuple[str, str]:
        """State and node of a job that is in the queue."""
        return next(((other["state"], other["node"]) for other in queue() if other["id"] == job["id"]), ("", ""))

    @staticmethod
    def tried_again(job: dict[str, str]) -> bool:
        """Whether Snakemake submitted the same work once more, maybe so long ago that the queue has forgotten it."""
        jobs = [(other["comment"], other["id"]) for other in queue("all")]
        jobs += [(record["Comment"], record["JobIDRaw"]) for record in records()]
        return any(comment == job["comment"] and other != job["id"] for comment, other in jobs)

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something; raises with what Snakemake said last when it does not come."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                said = (self.checkout.parent / "first.log").read_text()[-3000:]
                raise AssertionError(f"waited in vain for: {what}\n{self.times}\n{queue()}\n{said}")
            time.sleep(0.2)

    def note(self, what: str) -> None:
        """Remember when something happened."""
        self.times.append((round(time.time(), 1), what))
