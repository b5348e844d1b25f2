"""A report of synthetic scores, and a real headless Chromium that shows it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import synthetic

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# What a model might answer; each would leave a trace if the report ran it.
ATTACKS = (
    "<script>document.title = 'attacked'; alert('attacked')</script>",
    "<img src=x onerror=\"document.title = 'attacked'; alert('attacked')\">",
    "</pre></details></body><script>top.attacked = true; parent.attacked = true</script>",
    "</script><script>window.attacked = true</script><!--",
)
MISSING_RUN = 2


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """A working directory with a finished study of synthetic scores, hostile answers and one missing run."""
    folder = tmp_path_factory.mktemp("study")
    root = Path("results/mini")
    planned = synthetic.grid()
    runs = [run for number, run in enumerate(planned) if number != MISSING_RUN]
    files = synthetic.write_study(folder / root, runs, harmful=24, task=8)
    files["audit"] = [synthetic.write_audit(folder / root, "demo", shift=0.4)]
    for path in files["answers"]:
        records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        for number, record in enumerate(records):
            record["answer"] = ATTACKS[number % len(ATTACKS)]
        Path(path).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    description = {
        "files": {name: [str(Path(path).relative_to(folder)) for path in paths] for name, paths in files.items()},
        "models": {"demo": "Demo <model>"},
        "methods": synthetic.methods(),
        "runs": [run.fields for run in runs],
        "missing": [planned[MISSING_RUN].fields],
        "threshold": 3,
        "analysis": {"bootstrap_draws": 200},
    }
    (folder / "study.json").write_text(json.dumps(description), encoding="utf-8")
    config = {"study": "mini", "title": "A study in miniature", "judge": {"threshold": 3}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    snakemake(folder, "--cores", "1")
    return folder


@pytest.fixture(scope="session")
def report(study) -> Path:
    """The study's report.html."""
    snakemake(study, "--report", "report.html")
    return study / "report.html"


def snakemake(folder: Path, *arguments: str) -> None:
    """Run Snakemake on the miniature study; fail with its output."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(HERE / "mini.smk"), "--directory", str(folder)]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    logs = "\n".join(path.read_text() for path in sorted(folder.glob("logs/*.log"))) if done.returncode else ""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A headless Chromium without network that keeps its console and its requests."""
    programs = _programs()
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (the test extra)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "window-size=1400,900", "force-device-scale-factor=1"),
        *("host-resolver-rules=MAP * ~NOTFOUND", f"user-data-dir={tmp_path_factory.mktemp('profile')}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=programs["chromedriver"])
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def _programs() -> dict[str, str]:
    """Chromium and its driver, from Debian's packages where they are not there yet and we may install them."""
    names = ("chromium", "chromedriver")
    if not all(map(shutil.which, names)):
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "chromium-driver"]
        installed = subprocess.run(command, capture_output=True, text=True)
        if installed.returncode or not all(map(shutil.which, names)):
            pytest.skip(f"chromium cannot be installed: {installed.stderr[-300:]}")
    return {name: str(shutil.which(name)) for name in names}
