"""A failed run does not take the others with it: they are finished, and the report says what is missing."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.checkout import DEMO, copy_checkout, snakemake

RUNS = Path("results/demo/runs/model=demo")
FAILED = RUNS / "method=promot/format=list/lr=3e-3/seed=0"
JUDGED_AGAIN = RUNS / "method=base/format=none/lr=none/seed=none"
SCORES = "prompts=harmful/scores.jsonl"
ARGUMENTS = (*DEMO, "--rerun-triggers", "mtime", "input")
PARTIAL = (*ARGUMENTS, "--config", "partial=true")


@pytest.fixture(scope="module")
def checkout(finished_demo: Path, tmp_path_factory) -> Path:
    """A finished study of which one run cannot be judged and another one has yet to be."""
    checkout = copy_checkout(tmp_path_factory.mktemp("partial") / "formsafe")
    for name in ("results", "resources", ".snakemake"):
        shutil.copytree(finished_demo / name, checkout / name)
    (checkout / FAILED / "prompts=harmful/answers.jsonl").write_text("no record\n")
    (checkout / JUDGED_AGAIN / SCORES).unlink()
    return checkout


def test_a_failed_run_is_listed_as_missing_and_the_others_are_reported(checkout):
    failed = snakemake(checkout, *ARGUMENTS, "--keep-going", check=False)
    assert failed.returncode != 0
    assert (checkout / JUDGED_AGAIN / SCORES).exists() and not (checkout / FAILED / SCORES).exists()
    snakemake(checkout, *PARTIAL)
    verdict = (checkout / "results/demo/report/verdict.rst").read_text()
    assert verdict.startswith("**Missing: 1 of 9 runs**\n\n- Demo: ProMoT List 3e-3\n")
    with open(checkout / "results/demo/tables/safety.csv", newline="") as table:
        asr = {(row["Method"], row["Format"], row["LR"]): row["ASR"] for row in csv.DictReader(table)}
    assert asr.pop(("ProMoT", "List", "3e-3")) == "not run"
    assert len(asr) == 8 and all(0 <= float(value) <= 1 for value in asr.values())
    assert "judge format audit" in (checkout / "results/demo/report/study.html").read_text()  # its cost
    snakemake(checkout, *PARTIAL, "--report", "report.html")
    page = (checkout / "report.html").read_text()
    assert "Missing: 1 of 9 runs" in page
    categories, _ = json.JSONDecoder().raw_decode(page.split("var categories = ", 1)[1])
    assert set(categories) == {"Safety", "Task", "Training", "Data", "Judge", "Study"}
    training = [Path(path).name for paths in categories["Training"].values() for path in paths]
    assert sorted(training) == ["curves.html", "loss_demo.svg", "loss_split_demo.svg"]
