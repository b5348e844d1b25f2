"""Pages of synthetic studies, and a real headless Chromium that shows them."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from filelock import FileLock

from formsafe.core.records import Run
from tests import synthetic
from tests.unit.report.made import Made, make

# What a model might answer, or a user call a model; each would leave a trace if a page ran it.
ATTACKS = (
    "<script>document.title = 'attacked'; alert('attacked')</script>",
    "<img src=x onerror=\"document.title = 'attacked'; alert('attacked')\">",
    "</pre></details></body><script>top.attacked = true; parent.attacked = true</script>",
    "</script><script>window.attacked = true</script><!--",
)
LONG = "SFT with a tenth of safety data mixed in and a name that is long"


def drawn(made: Made, title: str) -> Path:
    made.figures("figures", "svg")
    return made.page(title)


def demo_page(root: Path) -> Path:
    """Seven runs of which one is missing; hostile title and label."""
    runs = synthetic.grid()
    return drawn(make(root, runs[:6], runs[6:], models={"demo": ATTACKS[1]}), f"A study {ATTACKS[0]}")


def single_page(root: Path) -> Path:
    """One run."""
    return drawn(make(root, [Run("demo", "base")], audit=False), "One run")


def crowded_page(root: Path) -> Path:
    """24 trained runs with long names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "METHODS", {**synthetic.METHODS, "mixed": {"label": LONG}})
        trained = [
            Run("demo", method, format, rate, "0")
            for method in ("sft", "mixed")
            for format in synthetic.FORMATS
            for rate in ("5e-5", "1e-4", "2e-4", "3e-4")
        ]
        name = "An-Organisation/A-Very-Long-Model-Name-70B-Instruct-v0.3-preview-quantised"
        return drawn(make(root, [Run("demo", "base"), *trained], models={"demo": name}), "A long title " * 12)


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> dict[str, Path]:
    """The page of a study by its size."""
    made = {"demo": demo_page, "one run": single_page, "24 runs": crowded_page}
    return {name: write(tmp_path_factory.mktemp("study")) for name, write in made.items()}


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
    driver.set_script_timeout(300)  # axe-core on a busy machine
    yield driver
    driver.quit()


@pytest.fixture
def opened(chromium):
    """Open a page at a width in pixels, its logs emptied before."""

    def open_page(path: Path, width: int = 1400):
        chromium.get("about:blank")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        chromium.get_log("browser"), chromium.get_log("performance")
        chromium.get(path.as_uri())
        return chromium

    return open_page


def assert_calm(driver, page: Path, scripts: int = 0) -> None:
    """No error on the console, nothing asked of any network, no other file than the page and its own scripts."""
    assert [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    # A slow Chromium still loads its own new-tab page, with an image in a `data:` URL, when the first page is opened.
    asked = [url for url in asked if not url.startswith(("chrome://", "data:"))]
    others = [url for url in asked if url.partition("#")[0] not in (page.as_uri(), "about:blank")]
    assert len(others) == scripts and all(re.fullmatch(r"file://.*/answers/[\w-]+\.js", url) for url in others), others


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The script of axe-core, which npm fetches; it checks a page for barriers."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm to fetch axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "axe-core@4"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    script = folder / "node_modules/axe-core/axe.min.js"
    if done.returncode or not script.exists():
        pytest.skip(f"npm cannot fetch axe-core: {done.stderr[-300:]}")
    return script.read_text(encoding="utf-8")


def barriers(driver, axe: str) -> list[str]:
    """Findings of axe-core that are serious or critical."""
    driver.execute_script(axe)
    found = driver.execute_async_script("const done = arguments[0]; axe.run().then(done)")
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['html'][:120]}" for each in serious for node in each["nodes"]]


def _programs() -> dict[str, str]:
    """Chromium and its driver, from Debian's packages where they are not there yet and we may install them."""
    names = ("chromium", "chromedriver")
    # One after the other: apt-get refuses to run twice at once, and pytest has several processes.
    with FileLock(Path(tempfile.gettempdir(), "formsafe-chromium.lock")):
        if not all(map(shutil.which, names)):
            _install(names)
    return {name: str(shutil.which(name)) for name in names}


def _install(names: Iterable[str]) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    subprocess.run(["apt-get", "update", "-qq"], check=False)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "chromium-driver"]
    installed = subprocess.run(command, capture_output=True, text=True)
    if installed.returncode or not all(map(shutil.which, names)):
        pytest.skip(f"chromium cannot be installed: {installed.stderr[-300:]}")
