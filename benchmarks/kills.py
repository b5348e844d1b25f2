"""Crash safety at length: kill random processes of the demo study 100 times, and compare the results.

    python benchmarks/kills.py FINISHED_DEMO [--kills 100] [--seed 0]

FINISHED_DEMO is a checkout in which `make demo` has run.
"""

import argparse
import random
import shutil
import tempfile
from pathlib import Path

from committed import save

from tests.checkout import copy_checkout
from tests.kills import kill_and_restart, leftovers, one_format_study


def main() -> None:
    """Kill, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("finished", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        checkout = copy_checkout(Path(place).resolve() / "formsafe")
        for name in ("resources", ".snakemake/metadata"):
            shutil.copytree(chosen.finished / name, checkout / name)
        killed = kill_and_restart(checkout, one_format_study(checkout), chosen.kills, random.Random(chosen.seed))
        summary = (checkout / "results/demo/summary.csv").read_text().splitlines()
        whole = (chosen.finished / "results/demo/summary.csv").read_text().splitlines()
        runs = {tuple(line.split(",")[:5]) for line in summary}
        same = summary == [line for line in whole if tuple(line.split(",")[:5]) in runs]
        result = {
            "kills": killed.total(),
            "killed": dict(sorted(killed.items())),
            "summary_identical": same,
            "temporary_files_left": leftovers(checkout),
        }
    save("kills", result)


if __name__ == "__main__":
    main()
