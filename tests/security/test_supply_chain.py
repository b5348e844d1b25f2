"""What is installed is what was locked."""

import re

import pytest
import yaml

from tests.conftest import ROOT

LOCKS = ("requirements.txt", "requirements-cuda.txt")


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_its_version_and_hashes(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert "--only-binary :all:" in lines
    packages = [line for line in lines if re.match(r"[a-z0-9]", line, re.IGNORECASE)]
    assert len(packages) >= 10
    for line in packages:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[^ ;]+ \\", line), line
        assert re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}( \\)?", lines[lines.index(line) + 1]), line


def test_source_packages_are_the_exception():
    sources = re.findall(r"^--no-binary (\S+)$", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert set(sources) <= {"connection-pool", "rouge-score", "yattag"}


def test_the_makefile_installs_by_hash_only():
    makefile = (ROOT / "Makefile").read_text()
    assert "--no-deps --require-hashes" in makefile
    installed = re.findall(r"pip install (?!--quiet uv==)(.*)", makefile)
    assert all("--require-hashes" in line for line in installed), installed


def test_actions_are_pinned_by_commit_with_least_permissions():
    for path in (ROOT / ".github" / "workflows").iterdir():
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        used = [step["uses"] for step in steps if "uses" in step]
        assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)
        assert all(step["with"]["persist-credentials"] is False for step in steps if "checkout" in step.get("uses", ""))


def test_security_says_how_to_report_and_what_is_trusted():
    text = (ROOT / "SECURITY.md").read_text()
    assert "Report a vulnerability" in text and "Not trusted:" in text and "docs/security.md" in text
    for named in re.findall(r"`((?:core|sources|tests)/[\w/]+(?:\.py)?)", (ROOT / "docs" / "security.md").read_text()):
        assert (ROOT / named).exists() or (ROOT / "workflow/scripts/formsafe" / named).exists(), named
