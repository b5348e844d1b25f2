"""Everything a job prints, child processes and native libraries included, goes to its log."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from formsafe.errors import FormsafeError


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
            os.close(kept)
            os.close(terminal)


def _point_streams_at(stdout: int, stderr: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
