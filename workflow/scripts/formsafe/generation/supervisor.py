"""Runs a job's server, and ends it with all that it started as soon as the job ends, however the job ends.

The job holds the other end of this process's standard input and writes nothing to it: a job that ends, or is killed,
closes it. Where this process is killed, too, the server gets SIGKILL from the kernel, and the next start of the job
looks for what is left by the mark that the server's processes have in their environment.

It is a program of its own that imports the standard library only: it starts in milliseconds, and nothing of the job
(threads, memory of a GPU) is copied into it.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

VARIABLE = "FORMSAFE_SERVER"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


def mark_of(place: str, pid: int) -> str:
    """What the environment of a server's processes says: the place of the job's files, and which process the job is.

    Example: `/home/me/formsafe/results/paper/runs/.../.answers.journal.jsonl|4711|903412|pid:[4026531836]`, with the
    job's process id, its start in clock ticks (another process may get the same id later) and its namespace of ids.
    """
    started = next((fields[19] for _, fields in _stats(str(pid))), "gone")
    return f"{place}|{pid}|{started}|{_namespace()}"


def members(mark: str, root: int = 0) -> set[int]:
    """Living processes that have `mark` in their environment, descendants of process `root`, and what they started.

    A process that has overwritten its environment (as programs do that rename themselves) is found by its parent or by
    its session. A session counts where its leader is one of them or has ended: nobody joins another's session, so that
    everything in it was started by the server.
    """
    wanted = f"{VARIABLE}={mark}".encode()
    stats = {pid: fields for pid, fields in _stats() if fields[0] != "Z"}
    found, spared = {pid for pid in stats if wanted in _environment(pid)}, {root, os.getpid(), os.getppid(), 1}
    before = -1
    while len(found) > before:
        before = len(found)
        parents = {root, *found} - {0}
        led = {int(stats[pid][3]) for pid in found}
        sessions = {leader for leader in led - {0, os.getsid(0)} if leader in found or leader not in stats}
        for pid, fields in stats.items():
            if int(fields[1]) in parents or int(fields[3]) in sessions:
                found.add(pid)
        found -= spared
    return found


def orphans(place: str) -> set[str]:
    """Marks of servers that jobs with their files at `place` have left, those of living jobs not among them."""
    prefix, found = f"{VARIABLE}={place}|", set()
    for pid, _ in _stats():
        for text in (entry.decode(errors="replace") for entry in _environment(pid)):
            job, _, rest = text.removeprefix(prefix).partition("|")
            # In another namespace the same process id is another process, so that nothing can be said from here.
            known = text.startswith(prefix) and job.isdigit() and rest.endswith(f"|{_namespace()}")
            if known and text != f"{VARIABLE}={mark_of(place, int(job))}":
                found.add(text.partition("=")[2])
    return found


def end(mark: str, seconds: float, root: int = 0) -> set[int]:
    """End a server's processes by SIGTERM, those that are left after `seconds` by SIGKILL; returns those that live on.

    Only a process that waits in the kernel, for a broken device or file system, survives SIGKILL.
    """
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        signalled: set[int] = set()
        deadline = time.monotonic() + patience
        while (left := members(mark, root)) and time.monotonic() < deadline:
            for pid in left - signalled:
                with suppress(ProcessLookupError):  # it ended by itself
                    os.kill(pid, number)
            signalled |= left
            time.sleep(0.02)
    return left


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _stats(pattern: str = "[0-9]*") -> Iterator[tuple[int, list[str]]]:
    """Process ids with the fields of /proc/PID/stat behind the name: 0 state, 1 parent, 3 session, 19 start."""
    for entry in Path("/proc").glob(pattern):
        try:
            # the name, in brackets, may hold blanks and brackets itself
            yield int(entry.name), (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue


def _environment(pid: int) -> list[bytes]:
    """`NAME=value` of a process; nothing for another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def supervise(mark: str, seconds: float, command: list[str]) -> int:
    """Run `command` until it or this process's standard input ends; return the exit status, as a shell gives it."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what a server leaves behind becomes a child of this process, not of init
    # SPT_NOENV: vLLM renames its processes by `setproctitle`, which would otherwise overwrite the mark.
    environment = {**os.environ, VARIABLE: mark, "SPT_NOENV": "1"}
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    while server.poll() is None and not select.select([0], [], [], 0.1)[0]:
        pass
    end(mark, seconds, os.getpid())
    status = server.wait()
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    # Signals to all processes of a job (Slurm sends such) are for the job itself; this process ends by its input. They
    # are handled, not ignored: what is ignored stays so in the server.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, frame: None)
    sys.exit(supervise(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
