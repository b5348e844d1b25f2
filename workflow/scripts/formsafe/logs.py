"""Everything a job prints, child processes and native libraries included, goes to its log."""

import fcntl
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from formsafe.errors import FormsafeError

_terminals: list[int] = []  # stderr as it was before it went to a log


@contextmanager
def logging_to(path: str | Path) -> Iterator[None]:
    """Redirect the file descriptors of stdout and stderr to `path` while the block runs.

    A FormsafeError ends the process with its message, on the terminal and in the log; any other exception leaves its
    traceback in the log and is raised again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    kept = os.dup(1)
    _terminals.append(terminal)
    with open(path, "a", buffering=1, encoding="utf-8") as log:
        _point_streams_at(log.fileno(), log.fileno())
        try:
            yield
        except FormsafeError as error:
            print(f"error: {error}", file=sys.stderr)
            os.write(terminal, f"error: {error}\n(log: {path})\n".encode())
            raise SystemExit(1) from None
        except Exception:
            traceback.print_exc()
            os.write(terminal, f"The job failed; its log is {path}\n".encode())
            raise
        finally:
            _point_streams_at(kept, terminal)
            _terminals.remove(terminal)
            os.close(kept)
            os.close(terminal)


def claim_terminal() -> TextIO | None:
    """Open the terminal from which this process was started, behind its log, to show something until it is closed.

    None where there is no such terminal, or where another process holds it: jobs at once would overwrite each other.
    """
    if not _terminals or not os.isatty(_terminals[-1]):
        return None
    # opened anew: processes that inherited one descriptor share its lock
    terminal = open(os.ttyname(_terminals[-1]), "w", encoding="utf-8")  # noqa: SIM115 (the caller closes it)
    try:
        fcntl.flock(terminal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        terminal.close()
        return None
    return terminal


def _point_streams_at(stdout: int, stderr: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
