"""Ctrl-C ends a study in two lines, whatever its jobs were doing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.checkout import ROOT, run

COMMON = (ROOT / "workflow/rules/common.smk").read_text()
SNAKEFILE = f"""
import os, signal, sys
from collections import Counter
from pathlib import Path
sys.path.insert(0, "{ROOT}/workflow/scripts")
os.environ["PYTHONPATH"] = "{ROOT}/workflow/scripts"
from snakemake.logging import logger
from formsafe.cluster.progress import watch
from formsafe.cluster.records import record_unseen
STARTED = 0
{COMMON[COMMON.index("if not workflow.is_main_process:") : COMMON.index("onstart:")]}
onstart:
    watch(logger, Counter(job.rule.name for job in workflow.dag.needrun_jobs()), "none")

onerror:
    record_unseen(workflow, STARTED, Path.cwd())

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
# In Slurm a job's own Snakemake removes the marks of unfinished outputs, which the other one may not see before Ctrl-C.
FINISHED = """
    import shutil
    open(snakemake.output[0], "w").close()
    shutil.rmtree(".snakemake/incomplete")
"""


def interrupted(folder: Path, work: str) -> list[str]:
    """What Snakemake says after Ctrl-C during the script `work`."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "work.py").write_text(work)
    with open(folder / "said.txt", "w") as said:
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "rules"]
        study = subprocess.Popen(
            command,
            cwd=folder,
            stdout=said,
            stderr=said,
            start_new_session=True,
            # A shell starts background jobs with SIGINT ignored, and children inherit that: this job never ended.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        while not (folder / "started").exists():
            assert study.poll() is None
            time.sleep(0.05)
        before = os.path.getsize(folder / "said.txt")
        os.killpg(study.pid, signal.SIGINT)  # as a terminal does
        assert study.wait(timeout=60) != 0
    return (folder / "said.txt").read_text()[before:].splitlines()


def test_ctrl_c_ends_in_two_lines(tmp_path: Path):
    lines = interrupted(tmp_path, WORK)
    assert len(lines) == 2 and "Start Snakemake again as before" in lines[1], lines
    assert not (tmp_path / "a.txt").exists()
    assert "interrupted" in (tmp_path / "a.log").read_text()


def test_what_finished_unseen_before_ctrl_c_is_recorded(tmp_path: Path):
    before, after = WORK.split("    open(", 1)
    interrupted(tmp_path, f"{before}{FINISHED.lstrip(chr(10))}    open({after}")
    plan = run(tmp_path, sys.executable, "-m", "snakemake", "--dry-run")
    assert "Nothing to be done" in plan.stdout + plan.stderr
    (record,) = (tmp_path / ".snakemake/metadata").iterdir()
    assert json.loads(record.read_text())["endtime"] == (tmp_path / "a.txt").stat().st_mtime
