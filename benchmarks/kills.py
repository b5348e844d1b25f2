"""Crash safety at length: kill random processes of the demo study 100 times, and compare the results.

    python benchmarks/kills.py FINISHED_DEMO [--kills 100] [--seed 0] [--write]

FINISHED_DEMO is a checkout in which `make demo` has run.
"""

import argparse
import csv
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.checkout import DEMO, copy_checkout  # noqa: E402
from tests.kills import ONE_FORMAT, kill_and_restart, leftovers  # noqa: E402

RESULT = ROOT / "benchmarks" / "kills.csv"


def main() -> None:
    """Kill, compare, print, and write with --write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("finished", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        checkout = copy_checkout(Path(place).resolve() / "formsafe")
        for name in ("resources", ".snakemake/metadata"):
            shutil.copytree(chosen.finished / name, checkout / name)
        (checkout / "one_format.yaml").write_text(ONE_FORMAT)
        started = time.time()
        killed = kill_and_restart(checkout, ONE_FORMAT_STUDY, chosen.kills, random.Random(chosen.seed))
        summary = (checkout / "results/demo/summary.csv").read_text().splitlines()
        whole = (chosen.finished / "results/demo/summary.csv").read_text().splitlines()
        runs = {tuple(line.split(",")[:5]) for line in summary}
        same = summary == [line for line in whole if tuple(line.split(",")[:5]) in runs]
        rows = [[f"killed: {name}", count] for name, count in sorted(killed.items())]
        rows += [
            ["kills", killed.total()],
            ["summary.csv identical", same],
            ["temporary files left", len(leftovers(checkout))],
            ["minutes", round((time.time() - started) / 60, 1)],
        ]
    for row in rows:
        print(*row, sep=",")
    if chosen.write:
        with open(RESULT, "w", newline="") as target:
            csv.writer(target, lineterminator="\n").writerows([["what", "value"], *rows])


if __name__ == "__main__":
    main()
