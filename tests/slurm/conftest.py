"""One Slurm for all tests here, and the demo study carried through it in bad weather."""

import shutil
from pathlib import Path

import pytest

from tests.checkout import copy_checkout
from tests.slurm.lab import ETC, OURS, CannotRun, Lab, prepare
from tests.slurm.storm import Storm


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    try:
        prepare()
    except CannotRun as reason:
        pytest.skip(str(reason))
    root = tmp_path_factory.mktemp("slurm")
    for folder in (root, *root.parents[:2]):  # munge refuses a socket below a folder that others cannot enter
        folder.chmod(0o755)
    with Lab(root) as running:
        yield running
    assert not any((ETC / name).exists() for name in OURS)
    assert running.processes() == []


@pytest.fixture(scope="session")
def storm(lab, finished_demo: Path, tmp_path_factory) -> Storm:
    """The demo study by `snakemake --profile slurm`, through everything that clusters do to jobs."""
    checkout = copy_checkout(tmp_path_factory.mktemp("storm") / "formsafe")
    # The demo's model is not trained again; its records came along. Those of the study would hide that one is missing.
    shutil.copytree(finished_demo / "resources", checkout / "resources")
    story = Storm(lab, checkout)
    story.run()
    return story
