"""Starting a job's process quickly: most of its time to the first step is imports."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
    import torch

    # bitsandbytes decorates a few fallback kernels with torch.compile while it is imported, and for that alone PyTorch
    # loads its compiler: a fifth of a job's start.
    compiler = torch.compile
    torch.compile = _not_compiled  # type: ignore[assignment]
    gc.disable()
    try:
        yield
    finally:
        torch.compile = compiler
        gc.freeze()
        gc.enable()


def _not_compiled(function: Any = None, **options: Any) -> Any:
    """`torch.compile`, with and without arguments, that returns the function itself."""
    return (lambda decorated: decorated) if function is None else function


def unused_imports(quantisation: str, optimiser: str = "") -> tuple[str, ...]:
    """What a job that trains or answers leaves out; bitsandbytes too where neither weights nor optimiser need it."""
    needed = quantisation != "none" or any(word in optimiser for word in ("bit", "bnb", "paged"))
    return UNUSED if needed else (*UNUSED, "bitsandbytes")
