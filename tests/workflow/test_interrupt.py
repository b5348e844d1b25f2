"""Ctrl-C ends a study in two lines, whatever its jobs were doing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.checkout import ROOT

COMMON = (ROOT / "workflow/rules/common.smk").read_text()
SNAKEFILE = f"""
import os, signal, sys
from collections import Counter
sys.path.insert(0, "{ROOT}/workflow/scripts")
os.environ["PYTHONPATH"] = "{ROOT}/workflow/scripts"
from snakemake.logging import logger
from formsafe.cluster.progress import watch
{COMMON[COMMON.index("if not workflow.is_main_process:") : COMMON.index("onstart:")]}
onstart:
    watch(logger, Counter(job.rule.name for job in workflow.dag.needrun_jobs()), "none")

rule work:
    output: "a.txt"
    log: "a.log"
    script: "work.py"
"""
WORK = """
from formsafe.core.logs import logging_to
with logging_to(snakemake.log[0]):
    import time
    open("started", "w").close()
    time.sleep(120)
"""


def test_ctrl_c_ends_in_two_lines(tmp_path: Path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "work.py").write_text(WORK)
    with open(tmp_path / "said.txt", "w") as said:
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "rules"]
        study = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=said,
            stderr=said,
            start_new_session=True,
            # A shell starts background jobs with SIGINT ignored, and children inherit that: this job never ended.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        while not (tmp_path / "started").exists():
            assert study.poll() is None
            time.sleep(0.05)
        before = os.path.getsize(tmp_path / "said.txt")
        os.killpg(study.pid, signal.SIGINT)  # as a terminal does
        assert study.wait(timeout=60) != 0
    lines = (tmp_path / "said.txt").read_text()[before:].splitlines()
    assert len(lines) == 2 and "Start Snakemake again as before" in lines[1], lines
    assert not (tmp_path / "a.txt").exists()
    assert "interrupted" in (tmp_path / "a.log").read_text()
