"""Progress: a bar in the log, and one on the terminal for one job at a time."""

import os
import signal
import subprocess
import sys
import termios
from contextlib import closing
from types import SimpleNamespace
from typing import get_args

import pytest
from transformers import TrainerControl, TrainerState

from formsafe.config.settings.training import Optimiser
from formsafe.core import logs
from formsafe.core.startup import unused_imports
from formsafe.training import pace as module
from formsafe.training.pace import Pace
from tests.conftest import ROOT


@pytest.fixture
def terminal(monkeypatch):
    """A terminal from which the job is taken to be started: the end on which one reads it."""
    reading, writing = os.openpty()
    termios.tcsetwinsize(writing, (24, 80))
    monkeypatch.setattr(logs, "_terminals", [writing])
    yield reading
    os.close(writing)
    os.close(reading)


def train(pace: Pace) -> None:
    told = SimpleNamespace(output_dir="results/demo/runs/model=tiny/method=sft/lr=1e-5/adapter/.checkpoints")
    state, control = TrainerState(max_steps=4), TrainerControl()
    with pace.listening():
        pace.on_train_begin(told, state, control)
        for step in range(1, 5):
            state.global_step = step
            pace.on_log(told, state, control, logs={"loss": 0.5, "format_loss": 0.5})


def test_a_training_shows_its_bar_in_the_log_and_on_the_terminal(terminal, capsys):
    pace = Pace(0.25, 10.0)
    train(pace)
    assert len(pace._bars) == 2 and all(bar.disable for bar in pace._bars), "closed"
    in_log, shown = capsys.readouterr().err, os.read(terminal, 10_000).decode()
    assert "tiny sft 1e-5" in in_log and "4/4" in in_log and "loss=0.5000" in in_log
    assert "tiny sft 1e-5" in shown and "0/4" in shown and "\n" not in shown
    free = logs.claim_terminal()
    assert free is not None
    free.close()


def test_a_terminal_that_takes_no_more_stops_no_training(terminal, capsys):
    held = logs.claim_terminal()
    assert held is not None
    for _ in range(100):
        held.write("unread" * 1000)
    held.close()
    train(Pace(0.25, 10.0))
    assert "4/4" in capsys.readouterr().err


def test_jobs_at_once_do_not_write_over_each_other(terminal, capsys):
    with closing(logs.claim_terminal()) as held:
        assert logs.claim_terminal() is None
        train(Pace(0.25, 10.0))
        held.write("only this")
    assert os.read(terminal, 10_000).decode() == "only this"
    assert "4/4" in capsys.readouterr().err


def test_a_job_finds_the_terminal_behind_its_log(tmp_path):
    program = (
        "from formsafe.core.logs import *\nwith logging_to('log'):\n"
        "    print('log'); print('bar', file=claim_terminal())"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    reading, writing = os.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=writing, cwd=tmp_path, env=environment, check=True)
    assert os.read(reading, 100).decode().strip() == "bar"
    assert (tmp_path / "log").read_text() == "log\n"
    piped = program.replace("file=claim_terminal()", "claim_terminal()")
    subprocess.run([sys.executable, "-c", piped], stderr=subprocess.PIPE, cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "log").read_text().endswith("bar None\n"), "not a terminal: the log only"


def test_bitsandbytes_is_imported_for_the_optimisers_that_are_its_own():
    theirs = {name.value for name in pytest.importorskip("transformers.trainer_optimizer")._BITSANDBYTES_OPTIMIZERS}
    needed = {name for name in get_args(Optimiser) if "bitsandbytes" not in unused_imports("none", name)}
    assert needed == theirs & {*get_args(Optimiser)}


def steps_of(pace: Pace, steps: int, asked: str) -> list[int]:
    """The steps after which a training of so many asks for a validation (`should_evaluate`) or a checkpoint."""
    told = SimpleNamespace(output_dir="adapter")
    state, found = TrainerState(max_steps=steps), []
    with pace.listening():
        pace.on_train_begin(told, state, TrainerControl())
        for step in range(1, steps + 1):
            state.global_step, control = step, TrainerControl()
            pace.on_step_end(told, state, control)
            if getattr(control, asked):
                found.append(step)
    return found


@pytest.mark.parametrize(
    ("interval", "steps", "expected"),
    [(0.25, 8, [2, 4, 6, 8]), (0.5, 5, [2, 5]), (1.0, 4, [4]), (2.5, 4, [4]), (0.1, 3, [1, 2, 3])],
)
def test_a_training_is_validated_at_fractions_and_at_its_end(interval, steps, expected):
    assert steps_of(Pace(interval, 10.0), steps, "should_evaluate") == expected


@pytest.mark.parametrize(("seconds", "expected"), [(59.0, [2]), (60.0, [1, 2]), (30.0, [2])])
def test_a_checkpoint_is_due_after_its_minutes_and_never_at_the_last_step(monkeypatch, seconds, expected):
    times = iter([0.0, seconds, seconds + 30.0, 1e6])  # at the start, and after each of three steps
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(times)))
    pace = Pace(1.0, 1.0)
    assert steps_of(pace, 3, "should_save") == [step for step in expected if step == 1 or seconds + 30.0 >= 60.0]


def test_the_minutes_count_from_the_last_checkpoint(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    pace, state, control = Pace(1.0, 2.0), TrainerState(max_steps=9, global_step=1), TrainerControl()
    now[0] = 100.0
    pace.on_save(None, state, control)
    now[0] = 219.0
    pace.on_step_end(None, state, control)
    assert not control.should_save
    now[0] = 220.0
    pace.on_step_end(None, state, control)
    assert control.should_save and not control.should_training_stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_keeps_a_checkpoint_and_ends_the_training(number):
    before, pace = signal.getsignal(number), Pace(1.0, 10.0)
    state, control = TrainerState(max_steps=9, global_step=1), TrainerControl()
    with pace.listening():
        signal.raise_signal(number)
        pace.on_step_end(None, state, control)
    assert pace.caught == number and control.should_save and control.should_training_stop
    assert signal.getsignal(number) == before, "what was there before listens again"
