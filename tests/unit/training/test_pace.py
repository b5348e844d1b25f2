"""Progress: a bar in the log, and one on the terminal for one job at a time."""

import os
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
    train(Pace(0.25, 10.0))
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
