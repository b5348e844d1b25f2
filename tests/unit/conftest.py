"""A hub on loopback, or no network at all."""

import functools
import os
import socket
import sys
import time
from types import SimpleNamespace

import pytest

from formsafe.core import provenance
from formsafe.core.startup import lean_imports
from tests.fake_hub import FakeHub, serving

# Before PyTorch is imported. Its threads wait for each other by spinning, which costs models this small more than they
# gain, and with another process beside them (a second worker of pytest, say) four times as much.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A folder without certificates. Every client reads those of all authorities when it starts, 28 ms; none counts here.
os.environ["SSL_CERT_DIR"] = os.path.dirname(__file__)


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart():
    """Import as jobs do. Not with this file: pytest-xdist reads it in its own process, too, which runs no tests."""
    if "peft" not in sys.modules:
        with lean_imports():
            import peft  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def asks_git():
    """Each stage's record asks git for the commit, 20 ms: here once. Its value is what asks each time."""
    ask = provenance._git_commit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "_git_commit", functools.cache(ask))
        yield ask


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks():
    """What must outlive a power cut waits for the disk, 6,000 times in these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An empty cache, no token, and no patience: a retry, which would sleep, fails the test."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)

    def no_retry(seconds):
        raise AssertionError(f"waits {seconds} s for another try")

    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=no_retry, time=time.time))
    yield constants
    _http.close_session()


@pytest.fixture
def hub(environment, monkeypatch):
    """A hub on loopback."""
    hub = FakeHub()
    with serving(hub) as address:
        template = environment.HUGGINGFACE_CO_URL_TEMPLATE.replace(environment.ENDPOINT, address)
        monkeypatch.setattr(environment, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(environment, "ENDPOINT", address)
        hub.address = address
        yield hub


@pytest.fixture
def no_network(environment, monkeypatch):
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(environment, "ENDPOINT", address)
    return address
