"""Limits on what strangers' text can make this process do: time and memory of templates and regular expressions."""

import resource
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from formsafe.core.errors import FormsafeError


@contextmanager
def bounded(what: str, seconds: float = 10.0, megabytes: int = 1024) -> Iterator[None]:
    """End the block with a FormsafeError once it takes longer, or asks for more memory than it found.

    A chat template `{% for i in range(99999) %}{% for j in range(99999) %}` runs for hours, `'x' * 10**11` takes all
    memory, and `(a+)+$` tries longer than the universe is old. The alarm interrupts them, since Python's interpreter
    and its regular expressions look for signals; the limit of address space lets the one large request fail.

    Args:
        what: names the text in the message, e.g. "The chat template of llama".
        seconds: wall-clock time. Without effect in other threads than the main one, where no signal arrives.
        megabytes: more address space than the process has at the start.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: object) -> None:
        raise FormsafeError(f"{what} takes more than {seconds:g} s. It is not used; take one that is simpler.")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _address_space() + megabytes * 2**20
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if soft == resource.RLIM_INFINITY or wanted < soft:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    except (MemoryError, OverflowError, RecursionError):
        limit = f"{megabytes} MB or nests without end"
        raise FormsafeError(f"{what} takes more than {limit}. It is not used; take one that is simpler.") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def capped(blocks: Iterable[bytes], most: int) -> bytes:
    """Join what a server sends, decompressed; raises ValueError beyond `most` bytes instead of filling the memory."""
    taken = bytearray()
    for block in blocks:
        taken += block
        if len(taken) > most:
            raise ValueError(f"more than {most} bytes")
    return bytes(taken)


def _address_space() -> int:
    with open("/proc/self/statm", encoding="ascii") as fields:
        return int(fields.read().split()[0]) * resource.getpagesize()
