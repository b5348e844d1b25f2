"""A failed run does not take the others with it: they are finished, and the report says what is missing."""

import csv
import os
import shutil
from pathlib import Path

import pytest

from formsafe.cluster.records import record_file
from formsafe.config.grid import Run
from formsafe.report.registry import registered_names
from tests import synthetic
from tests.checkout import DEMO, copy_checkout, planned_jobs, run, snakemake

RUNS = Path("results/demo/runs/model=demo")
SFT = RUNS / "method=sft/format=json/lr=6.5e-4/seed=0"
FAILED = RUNS / "method=promot/format=list/lr=6.5e-4/seed=0"
JUDGED_AGAIN = RUNS / "method=base/format=none/lr=none/seed=none"
SCORES = "prompts=harmful/judge=policy/scores.jsonl"
ARGUMENTS = (*DEMO, "--rerun-triggers", "mtime", "input")
PARTIAL = (*ARGUMENTS, "--config", "partial=true")


def installed_checkout(target: Path) -> Path:
    """A checkout in which make takes the environment for installed."""
    checkout = copy_checkout(target)
    os.utime(checkout / "requirements.txt", (0, 0))
    return checkout


def reported_as_advised(checkout: Path, said: str) -> str:
    """The report after the command that a failed Snakemake printed."""
    (advice,) = (line for line in said.splitlines() if line.endswith(" PARTIAL=1"))
    run(checkout, "sh", "-c", advice)
    return (checkout / "results/demo/report.html").read_text()


@pytest.fixture(scope="module")
def checkout(finished_demo: Path, tmp_path_factory) -> Path:
    """A finished study of which one run cannot be judged and another one has yet to be."""
    checkout = installed_checkout(tmp_path_factory.mktemp("partial") / "formsafe")
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
    with open(checkout / "results/demo/tables/safety.csv", newline="") as table:
        asr = {(row["Method"], row["Format"], row["LR"]): row["ASR"] for row in csv.DictReader(table)}
    assert asr.pop(("ProMoT", "List", "6.5e-4")) == "not run"
    assert len(asr) == 8 and all(0 <= float(value) <= 1 for value in asr.values())
    page = reported_as_advised(checkout, failed.stderr)
    top = page[: page.index('<section id="findings"')]
    assert "1 of 9 runs are missing" in top and "<li>Demo: ProMoT List 6.5e-4</li>" in top
    # The demo has no controls, no benign prompts and none of the paper's models: nothing is drawn of these.
    drawn = [name for name in registered_names("figures") if name not in ("controls", "over_refusals", "paper")]
    assert all(f'id="figure-{name}-demo"' in page for name in drawn)


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """The demo study of synthetic results, none of them of a model: SFT on JSON has answers, but no scores."""
    checkout = installed_checkout(tmp_path / "formsafe")
    results = checkout / "results/demo"
    sweep = [Run("demo", "sft", "prose", "1e-3", "0"), Run("demo", "promot", "prose", "1.2e-2", "0")]
    runs = synthetic.grid(rates=("6.5e-4",), extra=sweep)
    synthetic.write_study(results, runs)
    for name, text in (("models/demo.json", '{"files": {}}\n'), ("data/prompts/harmful.jsonl", "")):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(text)
    (results / "data/tokens").mkdir()
    (results / "data/tokens/model=demo.json").write_text('{"formats": {}}\n')
    for name in (SCORES, "prompts=harmful/text_scores.jsonl"):
        (checkout / SFT / name).unlink()
    # Results without a record are refused.
    for made in results.rglob("*metrics.json"):
        record = record_file(checkout, str(made.relative_to(checkout)))
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("{}")
    return checkout


def test_the_advice_after_a_failed_sft_run_works_as_printed_and_needs_no_audit_of_the_judge(unfinished):
    failed = snakemake(unfinished, *DEMO, "--allowed-rules", "judge_answers", "--", f"{SFT}/{SCORES}", check=False)
    assert failed.returncode != 0 and "8 of 9 runs are finished" in failed.stderr
    page = reported_as_advised(unfinished, failed.stderr)
    assert "1 of 9 runs are missing" in page
    assert not (unfinished / "results/demo/audit").exists()
    assert (
        "make report STUDY=demo CONFIG=config/demo.yaml PARTIAL=1"
        in run(unfinished, "make", "report", "RESULTS=results/other", check=False).stderr
    )


def test_an_audit_that_is_there_is_read_and_one_that_is_not_is_not_made(unfinished):
    assert "audit_judge" not in planned_jobs(unfinished, *PARTIAL)
    synthetic.write_audit(unfinished / "results/demo", "demo")
    (unfinished / "results/demo/audit/model=demo/judge=policy/metrics.json").write_text("{}")
    assert "audit_judge" not in planned_jobs(unfinished, *PARTIAL)
    assert "audit_judge" in planned_jobs(unfinished, *DEMO)
