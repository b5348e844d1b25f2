"""Recovering asks a real Snakemake for its plan, and then cancels what an earlier one left."""

import signal
from pathlib import Path

import pytest

from formsafe.cluster.recover import recover
from formsafe.core.errors import FormsafeError
from tests.unit.cluster.test_orphans import LOG, left_behind

__all__ = ["left_behind"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workflow with nothing to do."""
    (tmp_path / "Snakefile").write_text("rule all:\n")
    monkeypatch.setattr("formsafe.cluster.recover.POLL_SECONDS", 0.1)
    return tmp_path


def test_recover_tells_a_wrong_configuration_before_it_cancels_or_waits(left_behind, checkout: Path):
    for orphans in ("wait", "cancel"):
        with pytest.raises(FormsafeError, match=r"missing\.yaml"):
            recover("demo", orphans, ["--configfile", "missing.yaml"], checkout)
    assert left_behind.poll() is None


def test_recover_cancels_what_was_left_on_this_host(left_behind, checkout: Path):
    assert recover("demo", "cancel", [], checkout) is True
    assert left_behind.wait(timeout=10) == -signal.SIGTERM


def test_recover_cancels_exactly_this_studys_jobs_in_slurm(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    logs = checkout / ".snakemake" / "log"
    logs.mkdir(parents=True)
    (logs / "2026-01-01T000000.1.snakemake.log").write_text(LOG)
    (logs / "2026-01-02T000000.1.snakemake.log").write_text(LOG.replace("1111", "2222").replace("demo", "other"))
    jobs = [
        f"101|RUNNING|formsafe_1111|{checkout}|rule_train_adapter",
        f"104|PENDING|formsafe_1111|{checkout}|rule_judge_answers",
        f"105|RUNNING|formsafe_2222|{checkout}|rule_train_adapter",
        f"106|RUNNING|formsafe_1111|{checkout.parent}|rule_train_adapter",
        f"107|RUNNING|sleep|{checkout}|none",
    ]
    (checkout / "queue").write_text("\n".join(jobs) + "\n")
    programs = checkout / "bin"
    programs.mkdir()
    for name, script in {
        "squeue": f"cat {checkout}/queue",
        "scancel": f'echo "$@" >> {checkout}/cancelled; sed -i "/^10[14]|/d" {checkout}/queue',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    assert recover("demo", "cancel", [], checkout) is True
    assert (checkout / "cancelled").read_text() == "101 104\n"
