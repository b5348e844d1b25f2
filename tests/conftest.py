"""Markers follow folders, and the small models that unit tests share."""

import gc
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT)]
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_collectstart():
    """No search for garbage until all is imported."""
    gc.disable()


def pytest_collection_modifyitems(items):
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        item.add_marker(getattr(pytest.mark, folder))


def pytest_collection_finish():
    """What was imported is no garbage: statsmodels collects at every adjustment, and would go over all of it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real rows of the public data sets, which the repository does not carry."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real data rows in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A random two-layer Llama with a byte-level BPE tokenizer and a Llama-3-shaped chat template."""
    from tests.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def talkative_model(tiny_model, tmp_path_factory) -> Path:
    """The tiny model with weights so large that it does not repeat itself and ends its answers at different lengths."""
    from tests.talkative import write_talkative_model

    return write_talkative_model(tiny_model, tmp_path_factory.mktemp("talkative"))


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory) -> Path:
    """A checkout in which `make demo` has run. Read only: tests that change something work on a copy.

    FORMSAFE_FINISHED_DEMO names it for several pytest processes to share; it is made there where it is not yet.
    """
    from filelock import FileLock

    from tests.checkout import copy_checkout, run

    named = os.environ.get("FORMSAFE_FINISHED_DEMO")
    checkout = Path(named) if named else tmp_path_factory.mktemp("finished") / "formsafe"
    with FileLock(checkout.with_name(f"{checkout.name}.lock")):
        if not checkout.exists():
            copy_checkout(checkout)
        if not (checkout / "results/demo/report.html").exists():
            run(checkout, "make", "demo", "CORES=2")
    return checkout
