"""What is installed is what was locked."""

import re
import shutil
import subprocess

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


PIP = '#!/bin/sh\necho "$@" >> pip.log\ncase "$*" in *immutables*) exit {status};; esac\n'
PYTHON = """#!/bin/sh
case "$1 $2" in "-m venv") mkdir -p .venv/bin; cp pip .venv/bin/pip; cp "$0" .venv/bin/python;; esac
"""


@pytest.mark.parametrize("status", [0, 1])
def test_a_package_without_a_wheel_for_a_new_python_is_built_from_its_locked_source_or_said_to_need_a_compiler(
    tmp_path, status
):
    for name in ("Makefile", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    for name, text in {"pip": PIP.format(status=status), "python": PYTHON}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    command = ["make", "install", f"PYTHON={tmp_path}/python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    calls = (tmp_path / "pip.log").read_text().splitlines()
    assert all("--no-deps --require-hashes" in call for call in calls)
    taken = (tmp_path / ".venv/immutables.txt").read_text()
    assert re.fullmatch(r"immutables==\S+ \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+", taken)
    assert (done.returncode == 0) == (status == 0) == any(call.endswith(" requirements.txt") for call in calls)
    assert ("Install a C compiler" in done.stderr) == (status == 1)
