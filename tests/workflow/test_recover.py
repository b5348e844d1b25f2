"""After kill -9 of Snakemake alone: what its jobs finish is kept, unless what it was made from was edited meanwhile."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from formsafe.cluster.orphans import Orphan, local_orphans
from formsafe.cluster.plan import PlannedJob, all_jobs
from formsafe.cluster.recover import recover
from formsafe.core.errors import FormsafeError
from tests.checkout import run

SNAKEFILE = """
from snakemake.logging import logger

onstart:
    logger.info("Study: mine")

rule all:
    input: "results/mine/a.txt"

rule work:
    output: "results/mine/a.txt", "results/mine/b.txt"
    params: value=config["value"]
    script: "work.py"
"""
WORK = """
import time
from pathlib import Path
Path("at_work").touch()
while not Path("go").exists():
    time.sleep(0.05)
for output in snakemake.output:
    Path(output).write_text(f"{snakemake.params.value}\\n")
"""
CALL = ["--cores", "1", "--configfile", "mine.yaml"]


def planned_jobs(arguments: list[str], checkout: Path) -> list[PlannedJob]:
    return [job for job in all_jobs(arguments, checkout) if job.planned]


def killed_while_working(checkout: Path) -> list[Orphan]:
    """Start Snakemake, kill it when its job is at work, and return the job."""
    snakemake = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *CALL], cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # A process is there before it runs the script: Snakemake's own removal of the script would end it.
    while not ((checkout / "at_work").exists() and (jobs := list(local_orphans(checkout)))):
        assert snakemake.poll() is None
        time.sleep(0.05)
    (checkout / "at_work").unlink()
    snakemake.send_signal(signal.SIGKILL)
    snakemake.wait()
    return jobs


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a small workflow whose Snakemake was killed while its one job went on."""
    monkeypatch.setattr("formsafe.cluster.recover.POLL_SECONDS", 0.1)
    for name, text in {"Snakefile": SNAKEFILE, "work.py": WORK, "mine.yaml": "value: 1\n"}.items():
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (0, 0))
    jobs = killed_while_working(tmp_path)
    yield tmp_path
    for job in jobs:
        if Path(f"/proc/{job.id}").exists():
            os.kill(int(job.id), signal.SIGKILL)


def finish(checkout: Path, in_slurm: bool = False) -> None:
    """Let the orphan end; in Slurm, its own Snakemake removes the marks of unfinished outputs and records nothing."""
    (checkout / "go").touch()
    while in_slurm and not (checkout / "results/mine/b.txt").exists():
        time.sleep(0.05)
    if in_slurm:
        shutil.rmtree(checkout / ".snakemake/incomplete")


@pytest.mark.parametrize("in_slurm", [False, True])
def test_what_a_job_finished_is_kept_and_entered_into_the_records(killed: Path, capsys, in_slurm: bool):
    assert recover("mine", None, CALL, killed) is False
    finish(killed, in_slurm)
    assert recover("mine", "wait", CALL, killed) is True
    assert "Kept the results of 1 jobs" in capsys.readouterr().out
    assert planned_jobs(CALL, killed) == []
    assert not list(killed.glob(".snakemake/scripts/*"))
    (killed / "mine.yaml").write_text("value: 2\n")
    (job,) = planned_jobs(CALL, killed)
    assert job.why == ["a setting changed: 1 to 2"]


@pytest.mark.parametrize(
    ("edited", "text", "kept"),
    [
        ("mine.yaml", "value: 2\n", False),
        ("workflow/rules/a.smk", "", False),
        ("config/sources.lock.yaml", "written: by the workflow\n", True),
        ("config/README.md", "A guide.\n", True),
    ],
)
def test_what_was_made_before_an_edit_is_made_again(killed: Path, capsys, edited: str, text: str, kept: bool):
    (killed / edited).parent.mkdir(parents=True, exist_ok=True)
    (killed / edited).write_text(text)
    (killed / "go").touch()
    assert recover("mine", "wait", CALL, killed) is True
    said = capsys.readouterr().out
    assert ("Kept the results of 1 jobs" in said, "they are run again" in said) == (kept, not kept)
    assert (killed / "results/mine/a.txt").exists() is kept
    assert (planned_jobs(CALL, killed) == []) is kept


@pytest.mark.parametrize("in_slurm", [False, True])
def test_what_was_made_anew_is_kept_beside_an_older_record(killed: Path, capsys, in_slurm: bool):
    """The record of the last whole run still holds other settings than the job's."""
    (killed / "go").touch()
    recover("mine", "wait", CALL, killed)
    (killed / "mine.yaml").write_text("value: 2\n")
    os.utime(killed / "mine.yaml", (0, 0))
    (killed / "go").unlink()
    for output in ("a.txt", "b.txt"):
        (killed / "results/mine" / output).unlink()
    jobs = killed_while_working(killed)
    finish(killed, in_slurm)
    capsys.readouterr()
    assert recover("mine", "wait", CALL, killed) is True
    assert "Kept the results of 1 jobs" in capsys.readouterr().out
    assert jobs and planned_jobs(CALL, killed) == []
    assert (killed / "results/mine/b.txt").read_text() == "2\n"


def test_settings_on_the_command_line_of_the_dead_must_be_given_again(killed: Path, capsys):
    (log,) = killed.glob(".snakemake/log/*.log")
    log.write_text(log.read_text().replace("mine.yaml\n", "mine.yaml --config value=1\n", 1))
    (killed / "go").touch()
    assert recover("mine", "wait", [*CALL, "--config", "value=1"], killed) is True
    assert "Kept the results" in capsys.readouterr().out


def test_a_snakemake_of_another_host_may_live(killed: Path):
    (log,) = killed.glob(".snakemake/log/*.log")
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join("  Host: elsewhere\n" if line.startswith("  Host:") else line for line in lines))
    (killed / "go").touch()
    with pytest.raises(FormsafeError, match="started on elsewhere"):
        recover("mine", "wait", CALL, killed)
    assert list((killed / ".snakemake/locks").iterdir())
    assert recover("mine", "wait", CALL, killed, elsewhere_is_dead=True) is True
    assert not list(killed.glob(".snakemake/locks/*"))
    assert planned_jobs(CALL, killed) == []


def test_jobs_of_a_living_snakemake_are_not_called_orphans(tmp_path: Path):
    from formsafe.cluster.orphans import refuse_orphans

    for name, text in {"Snakefile": SNAKEFILE, "work.py": WORK, "mine.yaml": "value: 1\n"}.items():
        (tmp_path / name).write_text(text)
    command = [str(Path(sys.executable).parent / "snakemake"), *CALL]
    living = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list(local_orphans(tmp_path)):
            assert living.poll() is None
            time.sleep(0.05)
        refuse_orphans("another", ["another.yaml"], tmp_path)
        (tmp_path / "go").touch()
        assert living.wait(timeout=60) == 0
    finally:
        living.kill()
        living.wait()
    assert run(tmp_path, "cat", "results/mine/b.txt").stdout == "1\n"
