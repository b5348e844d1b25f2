"""Whatever dies, the study ends with the same results and leaves nothing half made."""

import random
import shutil
from pathlib import Path

import pytest

from tests.checkout import copy_checkout
from tests.kills import kill_and_restart, leftovers, one_format_study

KILLS = 10


@pytest.mark.long
def test_ten_kills_in_a_row_change_nothing(finished_demo: Path, tmp_path: Path):
    checkout = copy_checkout(tmp_path / "formsafe")
    for name in ("resources", ".snakemake/metadata"):  # the demo's model is not trained again
        shutil.copytree(finished_demo / name, checkout / name)
    killed = kill_and_restart(checkout, one_format_study(checkout), KILLS, random.Random(0))
    assert killed.total() == KILLS
    assert len(killed) > 1
    summary = (checkout / "results/demo/summary.csv").read_text().splitlines()
    whole = (finished_demo / "results/demo/summary.csv").read_text().splitlines()
    runs = {tuple(line.split(",")[:5]) for line in summary}
    assert len(runs) == 4  # the header and three runs
    assert summary == [line for line in whole if tuple(line.split(",")[:5]) in runs]
    assert leftovers(checkout) == []
