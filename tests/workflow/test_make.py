"""`make` itself: after kill -9, with the default study, without results, and when figures are newer than the report."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from formsafe.cluster.orphans import local_orphans
from tests.checkout import copy_checkout, run, snakemake
from tests.kills import leftovers


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which make takes the environment for installed."""
    checkout = copy_checkout(tmp_path / "formsafe")
    os.utime(checkout / "requirements.txt", (0, 0))
    return checkout


@pytest.fixture
def demo(checkout: Path, finished_demo: Path) -> Path:
    """A checkout with a finished demo study."""
    for name in ("results", "resources", ".snakemake"):
        shutil.copytree(finished_demo / name, checkout / name)
    return checkout


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(checkout, "make", *words, check=False, timeout=120)


def test_make_demo_goes_on_after_make_and_all_its_children_were_killed(demo: Path):
    results = demo / "results/demo"
    whole = (results / "summary.csv").read_bytes()
    for name in ("summary.csv", "report.html"):
        (results / name).unlink()
    killed = subprocess.Popen(["make", "demo", "CORES=2"], cwd=demo, stdout=subprocess.DEVNULL, start_new_session=True)
    while not list(local_orphans(demo)):
        assert killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert list((demo / ".snakemake/locks").iterdir()) and not (results / "summary.csv").exists()
    again = make(demo, "demo", "CORES=2")
    assert again.returncode == 0, again.stdout + again.stderr
    assert (results / "summary.csv").read_bytes() == whole
    assert (results / "report.html").stat().st_size > 100_000
    assert leftovers(demo) == []


def test_a_second_make_demo_has_nothing_to_do_and_ends_with_the_table_and_the_places(demo: Path):
    results = demo / "results/demo"

    def dates() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()}

    before = dates()
    again = make(demo, "demo", "CORES=2")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Nothing to be done" in again.stderr
    assert dates() == before
    table = (results / "tables/safety.md").read_text()
    assert "ASR" in table
    assert again.stdout.endswith(f"{table}\nReport:  results/demo/report.html\nFigures: results/demo/figures/\n")


def test_the_report_is_made_again_after_what_it_shows_and_only_then(demo: Path):
    report = demo / "results/demo/report.html"
    before = report.stat().st_mtime_ns
    said = make(demo, "report")
    assert said.returncode == 0 and "stale" not in said.stderr, said.stdout + said.stderr
    assert report.stat().st_mtime_ns == before
    style = demo / "workflow/report/report.css"
    style.write_text(style.read_text() + "h1 { color: purple; }\n")
    assert make(demo, "report", "CONFIG=config/demo.yaml").returncode == 0
    assert "h1 { color: purple; }" in report.read_text()
    assert (demo / "results/demo/provenance.html").stat().st_mtime >= report.stat().st_mtime


def test_a_report_of_stale_results_says_so(demo: Path):
    assert "results are stale" not in make(demo, "report").stderr
    config = demo / "config/config.yaml"
    config.write_text(config.read_text().replace("dropout: 0.01", "dropout: 0.02"))
    said = make(demo, "report")
    assert said.returncode == 0 and "results are stale" in said.stderr and "make stale" in said.stderr


def test_the_study_is_the_one_that_its_configuration_names(checkout: Path):
    (checkout / "my.yaml").write_text("study: 'mine'  # my own\n")
    named = make(checkout, "report", "CONFIG=my.yaml")
    assert "The study mine has not ended yet" in named.stderr and "STUDY=mine CONFIG=my.yaml" in named.stderr
    (checkout / "plain.yaml").write_text("title: x\n")
    assert "The study paper has not ended yet" in make(checkout, "report", "CONFIG=plain.yaml").stderr
    other = make(checkout, "report", "STUDY=typo", "CONFIG=my.yaml")
    assert other.stderr.startswith("error: my.yaml is the study mine, not typo.")


def test_an_environment_that_has_everything_is_taken_as_it_is(checkout: Path):
    (checkout / ".venv").unlink()
    said = make(checkout, "-n", "stale", f"PYTHON={sys.executable}")
    assert "pip install" not in said.stdout and f"{sys.prefix}/bin/python -m formsafe" in said.stdout
    assert "pip install" in make(checkout, "-n", "stale", "PYTHON=/usr/bin/python3").stdout


def test_the_default_study_has_the_default_configuration(checkout: Path):
    stale = make(checkout, "stale", "STUDY=paper")
    assert stale.returncode == 0, stale.stderr
    assert "generate_answers" in stale.stdout
    assert make(checkout, "recover", "STUDY=paper").returncode == 0
    report = make(checkout, "report", "STUDY=paper")
    assert report.returncode != 0
    assert "The study paper has not ended yet" in report.stderr
    assert "snakemake --configfile config/config.yaml" in report.stderr


def test_a_python_that_is_too_old_is_one_sentence_that_names_the_remedy(checkout: Path):
    (checkout / ".venv").unlink()
    said = make(checkout, "install", "PYTHON=false")
    assert said.returncode != 0 and not (checkout / ".venv").exists()
    assert said.stderr.startswith(
        "error: false is not Python 3.11 or newer. Name one: make PYTHON=python3.11 install\n"
    )
    assert len(said.stderr.splitlines()) == 2  # the second line is make's own


@pytest.mark.parametrize("target", ["stale", "recover", "report", "publish"])
def test_a_missing_configuration_is_one_sentence(checkout: Path, target: str):
    said = make(checkout, target, "STUDY=mine")
    assert said.returncode != 0
    assert said.stderr.startswith("error: There is no config/mine.yaml.") and "CONFIG=" in said.stderr
    assert len(said.stderr.splitlines()) == 2 and said.stdout == ""  # the second line is make's own


def test_the_advice_to_one_who_starts_beside_orphans_works_as_printed(checkout: Path):
    (checkout / "my_study.yaml").write_text("study: mine\n")
    script = checkout / ".snakemake/scripts/tmpabc.train_adapter.py"
    script.parent.mkdir(parents=True)
    script.write_text("import time\ntime.sleep(60)\n")
    orphan = subprocess.Popen([sys.executable, str(script)], cwd=checkout)
    try:
        refused = snakemake(checkout, "--cores", "1", "--configfile", "config/demo.yaml", "my_study.yaml", check=False)
        (advice,) = (line for line in refused.stderr.splitlines() if line.endswith("ORPHANS=cancel"))
        recovered = run(checkout, "sh", "-c", advice, timeout=120)
        assert orphan.wait(timeout=10) == -signal.SIGTERM
    finally:
        orphan.kill()
        orphan.wait()
    assert "The study 'mine' is unlocked" in recovered.stdout
