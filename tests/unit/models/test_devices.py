"""Every job gets a GPU of its own, and a dead job's GPU is free again."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from formsafe.models import devices

CARDS = ["GPU-a", "GPU-b"]
CLAIM = """
import sys, time
from pathlib import Path
from formsafe.models.devices import first_free
print(first_free(["GPU-a", "GPU-b"], Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


@pytest.fixture
def claimants(tmp_path):
    """Start a process that claims a card and holds it."""
    started = []
    folder = tmp_path / f"formsafe-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700)

    def claim() -> tuple[subprocess.Popen, str]:
        environment = {**os.environ, "PYTHONPATH": str(Path(devices.__file__).parents[2])}
        command = [sys.executable, "-c", CLAIM, str(folder)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield claim
    for process in started:
        process.kill()
        process.wait()


def test_jobs_claim_different_cards_and_the_kernel_frees_those_of_the_dead(claimants):
    first, card = claimants()
    assert card == "GPU-a"
    assert claimants()[1] == "GPU-b"
    assert claimants()[1] == "None"
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert claimants()[1] == "GPU-a"


@pytest.mark.parametrize(
    ("device", "cards", "set_by_scheduler"),
    [("cpu", CARDS, None), ("auto", CARDS, "3"), ("cuda", CARDS, ""), ("auto", [], None)],
)
def test_nothing_is_claimed_where_nothing_is_to_choose(monkeypatch, device, cards, set_by_scheduler):
    monkeypatch.setattr(devices, "installed_cards", lambda: cards)
    if set_by_scheduler is None:
        monkeypatch.delenv(devices.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(devices.VARIABLE, set_by_scheduler)
    assert devices.claim_device(device) is None
    assert os.environ.get(devices.VARIABLE) == set_by_scheduler


def test_a_job_waits_for_the_only_card_until_its_holder_ends(monkeypatch, tmp_path, claimants, capsys):
    monkeypatch.setattr(devices, "installed_cards", lambda: CARDS[:1])
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv(devices.VARIABLE, "")
    monkeypatch.delenv(devices.VARIABLE)
    holder, card = claimants()
    assert card == "GPU-a"
    threading.Timer(0.5, holder.kill).start()
    assert devices.claim_device("cuda", poll_seconds=0.05) == "GPU-a"
    assert holder.wait() == -signal.SIGKILL
    assert "waiting for one" in capsys.readouterr().out
    assert os.environ[devices.VARIABLE] == "GPU-a"
    os.close(devices._held.pop())


@pytest.mark.parametrize(("visible", "claimed"), [(None, "GPU-a"), ("2,3", "2")])
def test_a_claimed_card_is_the_only_visible_one(monkeypatch, tmp_path, visible, claimed):
    monkeypatch.setattr(devices, "installed_cards", lambda: CARDS)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv(devices.VARIABLE, visible or "")
    if visible is None:
        monkeypatch.delenv(devices.VARIABLE)
    assert devices.claim_device("auto") == claimed
    assert os.environ[devices.VARIABLE] == claimed
    os.close(devices._held.pop())


def test_cards_are_read_from_the_driver_as_far_as_they_are_to_be_had(tmp_path):
    for bus, minor in (("0000:02:00.0", 2), ("0000:01:00.0", 1), ("0000:03:00.0", 3)):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(
            f"GPU UUID: \t GPU-{minor}\nBus Type: \t PCIe\nDevice Minor: \t {minor}\n"
        )
    for minor in (1, 2):  # a container may have been given less than all
        (tmp_path / f"nvidia{minor}").touch()
    assert devices.installed_cards(tmp_path, nodes=tmp_path) == ["GPU-1", "GPU-2"]
    assert devices.installed_cards(tmp_path / "none") == []
