"""Starting a job's process quickly: most of its time to the first step is imports."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# transformers, peft and accelerate import these when they find them; neither training nor answering needs them.
UNUSED = ("datasets", "pandas", "pyarrow", "scipy", "sklearn")


@contextmanager
def lean_imports(*left_out: str) -> Iterator[None]:
    """Import in the block without the packages `left_out`, and without garbage collection.

    The packages stay out for the life of the process, since libraries remember what they found: this is for jobs that
    have a process of their own. None in `sys.modules` is Python's own way to say that a module is not to be had.
    """
    for package in left_out:
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def unused_imports(quantisation: str, optimiser: str = "") -> tuple[str, ...]:
    """What a job that trains or answers leaves out; bitsandbytes too where neither weights nor optimiser need it."""
    needed = quantisation != "none" or any(word in optimiser for word in ("bit", "bnb", "paged"))
    return UNUSED if needed else (*UNUSED, "bitsandbytes")
