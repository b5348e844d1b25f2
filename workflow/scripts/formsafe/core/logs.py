"""Everything a job prints, child processes and native libraries included, goes to its log."""

import fcntl
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from formsafe.core.errors import FormsafeError

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


class Terminal:
    """A terminal, held until it is closed; one that is stopped or gone neither stops nor fails the job.

    Args:
        name: its device.

    Raises:
        OSError: when it cannot be written to, or another process holds it: jobs at once would overwrite each other.
    """

    encoding = "utf-8"

    def __init__(self, name: str) -> None:
        # a descriptor of its own: processes that inherited one share its lock, and whether it blocks
        self._descriptor = os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """For whoever asks for the width."""
        return self._descriptor

    def write(self, text: str) -> None:
        """Show as much of `text` as the terminal takes now."""
        with suppress(OSError):
            os.write(self._descriptor, text.encode())

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Leave the terminal to others."""
        os.close(self._descriptor)


def claim_terminal() -> Terminal | None:
    """The terminal from which this process was started, behind its log; None where there is none, or it is held."""
    try:
        return Terminal(os.ttyname(_terminals[-1])) if _terminals else None
    except OSError:
        return None


def _point_streams_at(stdout: int, stderr: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
