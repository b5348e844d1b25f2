"""A job's process imports only what it computes with."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow/scripts"
CHILD = """
import sys
sys.path.insert(0, {scripts!r})
from formsafe.core.startup import lean_imports, unused_imports
with lean_imports(*unused_imports("nf4")):
    import bitsandbytes, torch
    decorated = torch.compile(dynamic=False)(len)
assert decorated is len and torch.compile is not None and torch.compile.__module__ == "torch"
print([name for name in ("torch._inductor.compile_fx", "pandas", "scipy") if sys.modules.get(name)])
"""


def test_four_bit_jobs_load_neither_the_compiler_nor_what_they_do_not_need():
    pytest.importorskip("bitsandbytes")
    command = [sys.executable, "-c", CHILD.format(scripts=str(SCRIPTS))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr[-2000:]
