"""Everything a job prints, child processes and native libraries included, goes to its log."""

import fcntl
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any

from formsafe.core.errors import FormsafeError
from formsafe.core.files import refuse_links
from formsafe.core.redaction import redact
from formsafe.core.texts import printable

_terminals: list[int] = []  # stderr as it was before it went to a log


class Filtered:
    """A stream that passes on what models, servers, templates and data say without control characters and secrets.

    It filters what Python prints, warnings, logging and tracebacks included; libraries in C, which print past it, have
    no texts of strangers to show.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, filtered."""
        self._stream.write(redact(printable(text)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write `lines`, filtered."""
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def filtered_streams() -> Iterator[None]:
    """Filter what this process prints while the block runs."""
    with redirect_stdout(Filtered(sys.stdout)), redirect_stderr(Filtered(sys.stderr)):
        yield


@contextmanager
def logging_to(path: str | Path) -> Iterator[None]:
    """Redirect the file descriptors of stdout and stderr to `path` while the block runs.

    A FormsafeError ends the process with its message, on the terminal and in the log; any other exception ends it, too,
    and leaves its traceback in the log only, where it is filtered.

    Standard input is closed: a library that asks whether to run a model's own code must not take the terminal's, or a
    pipe's, next line for a yes.
    """
    path = Path(path)
    refuse_links(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    kept = os.dup(1)
    _terminals.append(terminal)
    with open(path, "a", buffering=1, encoding="utf-8") as log:
        _point_streams_at(log.fileno(), log.fileno())
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        try:
            with filtered_streams():
                yield
        except FormsafeError as error:
            print(f"error: {error}", file=sys.stderr)  # its text is filtered
            os.write(terminal, f"error: {error}\n(log: {path})\n".encode())
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("The job was interrupted.", file=sys.stderr)
            raise SystemExit(130) from None
        except Exception:
            traceback.print_exc(file=Filtered(sys.stderr))
            os.write(terminal, f"The job failed; its log is {path}\n".encode())
            raise SystemExit(1) from None
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
    with suppress(IndexError, OSError):
        return Terminal(os.ttyname(_terminals[-1]))
    return None


def _point_streams_at(stdout: int, stderr: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
