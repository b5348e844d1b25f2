"""`make recover`, with stand-ins for Snakemake, Slurm and processes: what is asked of them, and what is kept."""

import io
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from formsafe.cluster import recover as module
from formsafe.cluster.orphans import Orphan
from formsafe.cluster.plan import PlannedJob
from formsafe.cluster.recover import main, recover
from formsafe.core.errors import FormsafeError

CALL = ["--configfile", "my.yaml", "--cores", "2"]
LENIENT = ["--ignore-incomplete", "--rerun-triggers", "mtime"]
LOG = "2026-01-02T030405.678901.snakemake.log"
START = time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1))
IN_SLURM = [Orphan("101", "running", "train"), Orphan("104", "pending", "judge")]
HERE = [Orphan("50", "running", "train.py", local=True)]


@pytest.fixture
def world(monkeypatch):
    """What is found, as the test sets it, and what was done, in order."""
    given = SimpleNamespace(living=[], host=None, orphans=[[]], jobs=[], done=[], scancel=0, ended=False)

    def orphans(directory, study):
        return given.orphans.pop(0) if len(given.orphans) > 1 else given.orphans[0]

    def sleep(seconds):
        given.done.append(("sleep", seconds))
        assert len(given.done) < 20, "waits for nothing"

    def scancel(words):
        given.done.append((*words,))
        return SimpleNamespace(returncode=given.scancel)

    def kill(*arguments):
        given.done.append(("kill", *arguments))
        if given.ended:
            raise ProcessLookupError

    def all_jobs(arguments, directory):
        given.done.append(("plan", *arguments))
        return given.jobs

    monkeypatch.setattr(module, "living_snakemakes", lambda directory: given.living)
    monkeypatch.setattr(module, "started_elsewhere", lambda directory, study: given.host)
    monkeypatch.setattr(module, "find_orphans", orphans)
    monkeypatch.setattr(module, "all_jobs", all_jobs)
    monkeypatch.setattr(module, "run_snakemake", lambda words, directory: given.done.append(("snakemake", *words)))
    monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=scancel))
    monkeypatch.setattr(module.os, "kill", kill)
    monkeypatch.setattr(module.time, "sleep", sleep)
    return given


def test_nothing_is_done_while_a_snakemake_lives_here_or_may_live_elsewhere(world, tmp_path):
    world.living = [40, 41]
    with pytest.raises(FormsafeError, match=r"still runs here \(process 40, 41\)"):
        recover("mine", "cancel", CALL, tmp_path, True)
    world.living, world.host = [], "login1"
    with pytest.raises(FormsafeError, match=r"(?s)started on login1.*  make recover STUDY=mine CONFIG=my\.yaml\nor"):
        recover("mine", "cancel", CALL, tmp_path)
    assert world.done == []
    assert recover("mine", "cancel", CALL, tmp_path, True) is True


def test_orphans_are_listed_and_left_alone_until_it_is_said_what_to_do(world, tmp_path, capsys):
    world.orphans = [[*IN_SLURM, *HERE]]
    assert recover("mine", None, CALL, tmp_path) is False
    assert capsys.readouterr().out == (
        "3 jobs of a killed Snakemake are still at work on 'mine':\n"
        "  Slurm job      101  running     train\n"
        "  Slurm job      104  pending     judge\n"
        "  process       50  running     train.py\n"
        "Wait for them:  make recover STUDY=mine CONFIG=my.yaml ORPHANS=wait\n"
        "Cancel them:    make recover STUDY=mine CONFIG=my.yaml ORPHANS=cancel\n"
    )
    assert world.done == []


CHECK, UNLOCK = ("snakemake", "--list", *CALL), ("snakemake", "--unlock", *CALL)
SCANCEL, KILL = ("scancel", "101", "104"), ("kill", 50, signal.SIGTERM)


@pytest.mark.parametrize(
    ("found", "orphans", "ended"),
    [
        ([*HERE, *IN_SLURM], "cancel", [SCANCEL, KILL]),
        (IN_SLURM, "cancel", [SCANCEL]),
        (HERE, "cancel", [KILL]),
        ([], "cancel", []),
        ([], None, []),
        ([*HERE, *IN_SLURM], "wait", []),
    ],
)
def test_the_configuration_is_checked_then_orphans_end_then_the_study_is_unlocked(
    world, tmp_path, capsys, found, orphans, ended
):
    world.orphans = [found, []]
    assert recover("mine", orphans, CALL, tmp_path) is True
    assert world.done == [CHECK, *ended, UNLOCK]
    said = f"Cancelled {len(found)} jobs; they continue from their checkpoints.\n" if ended else ""
    last = "The study 'mine' is unlocked. Start Snakemake as before: it goes on where its jobs ended.\n"
    assert capsys.readouterr().out == said + last


def test_while_it_waits_it_looks_every_five_seconds_and_tells_a_number_once(world, tmp_path, capsys):
    three, one = [*HERE, *IN_SLURM], HERE
    world.orphans = [three, three, three, one, one, []]
    assert recover("mine", "wait", CALL, tmp_path) is True
    assert world.done == [CHECK, *[("sleep", 5.0)] * 4, UNLOCK]
    assert capsys.readouterr().out.splitlines()[:-1] == ["Waiting for 3 jobs.", "Waiting for 1 jobs."]
    world.orphans = [one, one, []]
    recover("mine", "wait", CALL, tmp_path)
    assert capsys.readouterr().out.splitlines()[:-1] == ["Waiting for 1 jobs."]


def test_it_says_at_once_that_it_waits(world, tmp_path, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown))  # holds lines back
    monkeypatch.setattr(module.time, "sleep", lambda seconds: world.done.append(shown.getvalue()))
    world.orphans = [HERE, HERE, []]
    recover("mine", "wait", CALL, tmp_path)
    assert world.done == [CHECK, b"Waiting for 1 jobs.\n", UNLOCK]


def test_jobs_that_slurm_does_not_cancel_keep_the_study_locked(world, tmp_path):
    world.orphans, world.scancel = [[*IN_SLURM, *HERE], []], 1
    with pytest.raises(FormsafeError, match=r"exit status 1.*jobs 101, 104 may go on.*stays locked.*ORPHANS=wait"):
        recover("mine", "cancel", CALL, tmp_path)
    assert world.done == [CHECK, ("scancel", "101", "104")]


def test_a_process_that_ends_just_before_it_is_cancelled_is_no_error(world, tmp_path):
    world.orphans, world.ended = [HERE, []], True
    assert recover("mine", "cancel", CALL, tmp_path)
    assert ("kill", 50, signal.SIGTERM) in world.done and ("snakemake", "--unlock", *CALL) in world.done


@pytest.fixture
def another_process_is_faster(monkeypatch):
    """Every file is gone in the moment before it is removed."""
    unlink = Path.unlink

    def removed_twice(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", removed_twice)


def test_what_the_dead_left_of_its_own_is_removed(world, tmp_path, another_process_is_faster):
    gone = [".snakemake/tmp.abc/a", ".snakemake/scripts/tmpa.train.py", ".snakemake/scripts/tmpb.train.py"]
    stay = [".snakemake/log/other.log", ".snakemake/scripts/mine.py", ".snakemake/tmp.no_folder"]
    for path in (*gone, *stay):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    recover("mine", None, CALL, tmp_path)
    assert not any((tmp_path / path).exists() for path in (*gone, ".snakemake/tmp.abc"))
    assert all((tmp_path / path).exists() for path in stay)


OUTPUTS = ["results/mine/a", "results/mine/b"]


@pytest.fixture
def killed(world, tmp_path, monkeypatch) -> Path:
    """A checkout whose Snakemake was killed; one of its jobs made OUTPUTS a minute after its start."""
    monkeypatch.chdir(tmp_path)
    world.jobs = [
        PlannedJob("earlier", ["results/mine/earlier"], planned=False),
        PlannedJob("waits", ["results/mine/waits"]),
        PlannedJob("half", ["results/mine/half"], planned=False, gone=["results/mine/other"]),
        PlannedJob("train", OUTPUTS, planned=False),
    ]
    for path in ("earlier", "waits", "half", "a", "b"):
        made(tmp_path / "results/mine" / path, START + (-60 if path == "earlier" else 60))
    for path in ("Snakefile", "workflow/rules/a.smk", "config/config.yaml", "my.yaml"):
        made(tmp_path / path, START)
    log_of(tmp_path, "snakemake --cores 4")
    return tmp_path


def made(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (seconds, seconds))


def log_of(directory: Path, command: str) -> None:
    (directory / ".snakemake/log").mkdir(parents=True, exist_ok=True)
    (directory / ".snakemake/log" / LOG).write_text(f"  Command: {command}\nStudy: mine\n")


def is_kept(world, directory: Path, capsys, arguments=CALL) -> bool:
    """Whether `recover` enters what the job finished, and says so; else it has removed exactly that."""
    assert recover("mine", None, arguments, directory) is True
    said = capsys.readouterr().out
    there = [(directory / path).exists() for path in OUTPUTS]
    assert all((directory / "results/mine" / path).exists() for path in ("earlier", "waits", "half"))
    _, unlock, planned, *touched = world.done
    assert unlock[1] == "--unlock" and planned == ("plan", *LENIENT, *arguments)
    if touched:
        assert touched == [
            ("snakemake", "--touch", "--cores", "1", *LENIENT, *arguments, "--force", "--", "results/mine/a")
        ]
        assert all(there) and "Kept the results of 1 jobs that finished meanwhile.\n" in said
    else:
        assert not any(there)
        assert "1 jobs finished meanwhile, but code or settings were edited: they are run again.\n" in said
    return bool(touched)


def test_what_a_job_finished_after_the_start_is_entered(world, killed, capsys):
    assert is_kept(world, killed, capsys)


def test_without_a_log_of_the_study_or_a_finished_job_there_is_nothing_to_enter(world, killed):
    world.jobs = world.jobs[:3]
    recover("mine", None, CALL, killed)
    assert world.done == [CHECK, UNLOCK, ("plan", *LENIENT, *CALL)]
    world.done.clear()
    (killed / ".snakemake/log" / LOG).unlink()
    recover("mine", None, CALL, killed)
    assert world.done == [CHECK, UNLOCK]


@pytest.mark.parametrize(
    ("edited", "kept"),
    [
        *((path, False) for path in ("Snakefile", "workflow/rules/a.smk", "config/more/b.yaml", "my.yaml")),
        *((path, True) for path in ("workflow/__pycache__/a.pyc", "config/sources.lock.yaml", "config/README.md")),
        ("elsewhere/a.py", True),
    ],
)
def test_what_was_made_before_an_edit_is_removed(
    world, killed, capsys, another_process_is_faster, edited: str, kept: bool
):
    made(killed / edited, START + 1)
    assert is_kept(world, killed, capsys) is kept


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        ("--cores 4 --config a=1 b=2 --forceall", ["--config", "b=2", "a=1", "--cores", "2"], True),
        ("-C a=1", ["--config", "a=1"], True),
        ("--config a=1", ["-C", "a=1"], True),
        ("--config a=1", ["--config", "a=2"], False),
        ("--config a=1", [], False),
        ("--cores 4", ["--config", "a=1"], False),
        ("--cores 4", ["--cores", "2"], True),
    ],
)
def test_settings_on_the_command_line_must_be_those_of_the_dead(world, killed, capsys, before, now, kept):
    log_of(killed, f"snakemake {before}")
    assert is_kept(world, killed, capsys, ["--configfile", "my.yaml", *now]) is kept


def test_results_on_another_disk_are_removed_but_nothing_outside(world, killed, tmp_path_factory):
    disk, outside = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("outside") / "theirs"
    made(outside, START + 60)
    world.jobs[-1].outputs = [*OUTPUTS, str(outside)]
    (killed / "results").rename(disk / "results")
    (killed / "results").symlink_to(disk / "results")
    made(killed / "Snakefile", START + 1)
    recover("mine", None, CALL, killed)
    assert outside.exists() and not any((killed / path).exists() for path in OUTPUTS)


@pytest.mark.parametrize("where", ["given", "from the command line"])
@pytest.mark.parametrize(
    ("words", "orphans", "dead", "ready"),
    [
        ([], None, False, True),
        ([], None, False, False),
        (["--wait"], "wait", False, True),
        (["--cancel", "--force"], "cancel", True, True),
    ],
)
def test_the_command_line(monkeypatch, where, words, orphans, dead, ready):
    asked = []
    monkeypatch.setattr(module, "recover", lambda *arguments: asked.append(arguments) or ready)
    line = ["mine", *words, "--", *CALL]
    monkeypatch.setattr(sys, "argv", ["recover.py", *([] if where == "given" else line)])
    assert main(*([line] if where == "given" else [])) == (0 if ready else 1)
    assert asked == [("mine", orphans, CALL, Path.cwd(), dead)]


def test_to_wait_and_to_cancel_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        main(["mine", "--wait", "--cancel"])
    assert "not allowed with" in capsys.readouterr().err
