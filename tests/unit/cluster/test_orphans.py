"""Which jobs outlive a Snakemake: read from its log and from Slurm's queue."""

import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from formsafe.cluster import orphans as module
from formsafe.cluster.orphans import (
    Orphan,
    RunLog,
    find_orphans,
    living_snakemakes,
    local_orphans,
    make_command,
    newest_log,
    queued_jobs,
    read_log,
    refuse_orphans,
    slurm_orphans,
    started_elsewhere,
)
from formsafe.cluster.plan import split_arguments
from formsafe.cluster.recover import recover
from formsafe.core.errors import FormsafeError

LOG = """\
  Host: login1
  Command: snakemake --configfile 'my study.yaml'
Building DAG of jobs...
SLURM run ID: formsafe_1111
Study: demo
rule train_adapter:
    output: results/another/a/config.json
"""


def test_a_log_says_where_and_how_snakemake_was_called_and_for_which_study():
    log = read_log(LOG)
    assert (log.host, log.command) == ("login1", ["snakemake", "--configfile", "my study.yaml"])
    assert (log.run_id, log.study) == ("formsafe_1111", "demo")
    assert read_log("nothing of all that\n") == RunLog(None, [], None, None)


def test_the_newest_log_of_a_study_is_found(tmp_path: Path):
    logs = tmp_path / ".snakemake" / "log"
    logs.mkdir(parents=True)
    (logs / "2026-01-01T000000.1.snakemake.log").write_text(LOG)
    (logs / "2026-01-02T000000.1.snakemake.log").write_text(LOG.replace("1111", "2222"))
    (logs / "2026-01-03T000000.1.snakemake.log").write_text(LOG.replace("demo", "other"))
    path, log = newest_log(tmp_path, "demo")
    assert (path.name[:10], log.run_id) == ("2026-01-02", "formsafe_2222")
    assert newest_log(tmp_path, "third") is None


def test_only_this_workflows_jobs_in_this_folder_and_study_are_orphans(tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    queue = [
        f"1|RUNNING|formsafe_a|{here}|rule_train_adapter_wildcards_json_5e-5",
        f"2|PENDING|formsafe_a|{here}|rule_summarise",
        f"3|RUNNING|formsafe_a|{there}|rule_summarise",
        f"4|RUNNING|sleep|{here}|a | b",
        f"5|RUNNING|formsafe_b|{here}|rule_summarise",
        f"6|RUNNING|formsafe_a|{here}|rule_judge_answers_wildcards_a_wildcards_b",
    ]
    found = list(slurm_orphans(queue, here, foreign_runs={"formsafe_b"}))
    assert [(orphan.id, orphan.state, orphan.what) for orphan in found] == [
        ("1", "running", "train_adapter  json_5e-5"),
        ("2", "pending", "summarise"),
        ("6", "running", "judge_answers  a_wildcards_b"),
    ]


def test_an_orphan_is_a_line_that_says_whose_number_it_is():
    assert str(Orphan("4711", "pending", "summarise")) == "Slurm job     4711  pending     summarise"
    assert str(Orphan("815", "running", "judge", local=True)) == "process      815  running     judge"


@pytest.mark.parametrize(
    ("host", "locked", "elsewhere"),
    [
        ("login1", True, "login1"),
        ("login1", False, None),
        (platform.node(), True, None),
        (None, True, None),
        ("no log", True, None),
    ],
)
def test_a_snakemake_of_another_host_is_one_that_locked_this_folder(tmp_path: Path, host, locked, elsewhere):
    (tmp_path / ".snakemake/log").mkdir(parents=True)
    (tmp_path / ".snakemake/locks").mkdir()
    if host != "no log":
        line = "" if host is None else f"  Host: {host}\n"
        log = tmp_path / ".snakemake/log/2026-01-01T000000.1.snakemake.log"
        log.write_text(LOG.replace("  Host: login1\n", line))
    if locked:
        (tmp_path / ".snakemake/locks/0.input.lock").touch()
    assert started_elsewhere(tmp_path, "demo") == elsewhere


def test_slurm_has_two_minutes_to_answer(monkeypatch):
    def late(command, timeout, **more):
        assert timeout == 120
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(module.subprocess, "run", late)
    with pytest.raises(FormsafeError, match="took over two minutes"):
        queued_jobs()


SCRIPT = ".snakemake/scripts/tmpabc.train_adapter.py"


def start_script(script: Path, directory: Path) -> subprocess.Popen[bytes]:
    """Start a script that does nothing for a minute; returns when the kernel shows its name, a moment after Popen."""
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("import time\ntime.sleep(60)\n")
    process = subprocess.Popen([sys.executable, str(script)], cwd=directory)
    while str(script).encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.01)
    return process


@pytest.fixture
def left_behind(tmp_path: Path):
    """A script of a job whose Snakemake is gone."""
    process = start_script(tmp_path / SCRIPT, tmp_path)
    yield process
    process.kill()
    process.wait()


def test_scripts_left_on_this_host_are_orphans_and_stop_a_new_start(left_behind, tmp_path: Path):
    assert [(orphan.id, orphan.what) for orphan in local_orphans(tmp_path)] == [
        (str(left_behind.pid), "train_adapter.py")
    ]
    assert list(local_orphans(tmp_path.parent)) == []
    with pytest.raises(FormsafeError, match="make recover STUDY=demo ORPHANS=wait"):
        refuse_orphans("demo", ["config/demo.yaml"], tmp_path)
    left_behind.kill()
    left_behind.wait()
    assert find_orphans(tmp_path, "demo") == []
    refuse_orphans("demo", ["config/demo.yaml"], tmp_path)


@pytest.mark.parametrize(("name", "seen"), [("interactive", True), ("formsafe_1111", False)])
def test_a_shell_inside_an_allocation_hides_no_orphan(tmp_path: Path, monkeypatch, name: str, seen: bool):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_JOB_NAME", name)
    process = start_script(tmp_path / SCRIPT, tmp_path)
    try:
        assert bool(list(local_orphans(tmp_path))) is seen
    finally:
        process.kill()
        process.wait()


def test_a_process_that_ends_while_the_list_is_read_hides_no_other(left_behind, tmp_path: Path, monkeypatch):
    cwd, asked = module.psutil.Process.cwd, []

    def first_is_gone(process):
        asked.append(process)
        if len(asked) == 1:
            raise module.psutil.NoSuchProcess(process.pid)
        return cwd(process)

    monkeypatch.setattr(module.psutil.Process, "cwd", first_is_gone)
    assert [orphan.id for orphan in local_orphans(tmp_path)] == [str(left_behind.pid)]


def processes(monkeypatch, **commands: str) -> None:
    """The processes in the folder, by number (p40=...): their commands."""
    found = [(int(name[1:]), command.split(), {}) for name, command in commands.items()]
    monkeypatch.setattr(module, "_processes_in", lambda directory: iter(found))


def test_the_script_of_a_job_is_run_by_python_with_at_most_one_option(tmp_path: Path, monkeypatch):
    processes(
        monkeypatch,
        p50=f"python {SCRIPT}",
        p51=f"python -u {SCRIPT}",
        p52=f"grep -n word {SCRIPT}",
        p53="python work.py",
    )
    assert [orphan.id for orphan in local_orphans(tmp_path)] == ["50", "51"]


def test_a_living_snakemake_is_a_program_or_a_module_and_no_inner_one(tmp_path: Path, monkeypatch):
    processes(
        monkeypatch,
        p40="python /usr/bin/snakemake --cores 1",
        p41="python -m snakemake --cores 1",
        p42="python -m snakemake --mode remote",
        p43="grep -rn word snakemake",
        p44="snakemake",
    )
    assert living_snakemakes(tmp_path) == [40, 41, 44]


@pytest.mark.parametrize(
    ("parents", "own"),
    [
        ({50: 45, 45: 40, 40: 1, 1: 0}, True),
        ({50: 40, 40: 1, 1: 0}, True),
        ({50: 45, 45: 1, 40: 1, 1: 0}, False),
        ({50: 45, 40: 1, 1: 0}, False),  # the one between has ended
    ],
)
def test_jobs_of_a_living_snakemake_are_those_that_it_started(tmp_path: Path, monkeypatch, parents, own):
    processes(monkeypatch, p40="python -m snakemake", p50=f"python {SCRIPT}")
    started_by(monkeypatch, parents)
    if own:
        refuse_orphans("demo", ["config/demo.yaml"], tmp_path)
    else:
        with pytest.raises(FormsafeError, match=r"Another Snakemake \(process 40\) is at work here"):
            refuse_orphans("demo", ["config/demo.yaml"], tmp_path)


def test_a_snakemake_may_be_the_first_process_of_a_container(tmp_path: Path, monkeypatch):
    processes(monkeypatch, p1="python -m snakemake", p3=f"python {SCRIPT}")
    started_by(monkeypatch, {3: 2, 2: 1, 1: 0})
    refuse_orphans("demo", ["config/demo.yaml"], tmp_path)


def started_by(monkeypatch, parents: dict[int, int]) -> None:
    """Let these be the parents of processes, and no other process be known."""

    class Process:
        def __init__(self, pid: int) -> None:
            if pid not in parents:
                raise module.psutil.NoSuchProcess(pid)
            self.pid = pid

        def parents(self) -> list["Process"]:
            parent = parents.get(self.pid)
            return [Process(parent), *Process(parent).parents()] if parent in parents else []

    monkeypatch.setattr(module.psutil, "Process", Process)


def test_recover_lists_and_does_nothing_until_it_is_told(left_behind, tmp_path: Path, capsys):
    assert recover("mine", None, ["--configfile", "my.yaml", "--cores", "1"], tmp_path) is False
    said = capsys.readouterr().out
    assert str(left_behind.pid) in said and "make recover STUDY=mine CONFIG=my.yaml ORPHANS=cancel\n" in said
    assert left_behind.poll() is None


def test_the_advice_names_the_configuration_where_make_would_not_find_it(tmp_path: Path):
    def advice(study: str, *config_files: str | Path) -> str:
        return make_command("recover", study, config_files, tmp_path)

    assert advice("demo", tmp_path / "config/demo.yaml") == "make recover STUDY=demo"
    assert advice("paper") == advice("paper", "config/config.yaml") == "make recover STUDY=paper"
    assert advice("renamed") == "make recover STUDY=renamed CONFIG=config/config.yaml"
    assert advice("paper", tmp_path / "seeds.yaml") == "make recover STUDY=paper CONFIG=seeds.yaml"
    assert advice("mine", "config/demo.yaml", "/far/away.yaml") == (
        "make recover STUDY=mine CONFIG='config/demo.yaml /far/away.yaml'"
    )


def test_recover_refuses_while_snakemake_lives(tmp_path: Path):
    process = start_script(tmp_path / "snakemake", tmp_path)
    try:
        with pytest.raises(FormsafeError, match=str(process.pid)):
            recover("demo", "cancel", [], tmp_path)
    finally:
        process.kill()
        process.wait()


def test_what_snakemake_is_called_with_follows_two_dashes():
    assert split_arguments(["demo", "--wait", "--", "--configfile", "a.yaml", "--", "b"]) == (
        ["demo", "--wait"],
        ["--configfile", "a.yaml", "--", "b"],
    )
    assert split_arguments(["demo"]) == (["demo"], [])


def test_slurm_is_asked_only_where_it_was_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Slurm's programs without a cluster behind them must not stop a study on a laptop."""
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\necho Unable to contact slurm controller >&2\nexit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=":")
    monkeypatch.setenv("SLURM_CONF", "/nowhere/slurm.conf")
    refuse_orphans("demo", ["config/demo.yaml"], tmp_path)
    logs = tmp_path / ".snakemake" / "log"
    logs.mkdir(parents=True)
    (logs / "2026-01-01T000000.1.snakemake.log").write_text(LOG)
    refuse_orphans("another", ["another.yaml"], tmp_path)
    with pytest.raises(FormsafeError, match=r"Slurm does not answer \(squeue: Unable to contact slurm controller\)"):
        refuse_orphans("demo", ["config/demo.yaml"], tmp_path)
