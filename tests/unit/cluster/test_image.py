"""The recipe of the Apptainer image: it installs what is locked, holds no secret, and is built by `make image`."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

RECIPE = (ROOT / "envs/formsafe.def").read_text()
HEADER, *_PARTS = re.split(r"^%", RECIPE, flags=re.MULTILINE)
SECTIONS = {part.partition("\n")[0]: part.partition("\n")[2] for part in _PARTS}
SCRIPTS = ("post", "environment", "test", "runscript")
# Stand-ins, which write down how they are called, for what a recipe may call.
PROGRAMS = ("apt-get", "python3", "rm", "make", "git", "snakemake", "apptainer", "singularity")


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Runs a script with stand-ins for all programs; returns its calls."""
    log, programs = tmp_path / "calls", tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $@" >> {log}\n')
        (programs / name).chmod(0o755)

    def run(script: str, *arguments: str) -> list[str]:
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *arguments], env={"PATH": str(programs)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return log.read_text().splitlines() if log.exists() else []

    run.programs = programs
    return run


def test_it_has_the_sections_of_an_image_from_a_python_that_the_lock_is_made_for():
    assert set(SECTIONS) == {"files", "help", *SCRIPTS}
    fields = dict(line.split(": ") for line in HEADER.splitlines() if ": " in line and not line.startswith("#"))
    assert fields == {"Bootstrap": "docker", "From": "python:3.11-slim-bookworm"}
    assert "--python-version 3.11" in (ROOT / "Makefile").read_text()


def test_what_it_copies_is_there_and_what_it_reads_was_copied():
    copied = dict(line.split() for line in SECTIONS["files"].splitlines() if line.strip())
    assert all((ROOT / source).is_file() for source in copied)
    assert set(re.findall(r"/opt/\S+", SECTIONS["post"])) == set(copied.values())


def test_its_steps_install_by_hash_only_and_leave_no_index_of_packages(called):
    calls = called(SECTIONS["post"])
    assert calls[0] == "apt-get update" and calls[1].startswith("apt-get install --yes --no-install-recommends ")
    pip = [call for call in calls if "pip" in call]
    assert [call.rpartition("/")[2] for call in pip] == ["requirements.txt", "requirements-cuda.txt"]
    assert all("--no-deps --require-hashes" in call and "--no-cache-dir" in call for call in pip)
    assert any(call.startswith("rm -rf /var/lib/apt/lists") for call in calls)


def test_a_step_that_fails_ends_the_build(called):
    (called.programs / "python3").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(AssertionError):
        called(SECTIONS["post"])


def test_it_runs_snakemake_with_the_given_words_and_tries_what_make_looks_for(called):
    assert called(SECTIONS["runscript"], "--cores", "2", "a b") == ["snakemake --cores 2 a b"]
    (called.programs.parent / "calls").unlink()
    (imports, *tried) = called(SECTIONS["test"])
    assert tried == ["make --version", "git --version"]
    wanted = re.search(r"^PACKAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(wanted[1].split()) == set(re.findall(r"\w+", imports.partition(" import ")[2]))


def test_it_holds_no_secret_and_reads_none():
    assert not re.search(r"token|passw|secret|api_?key|HF_|\$\{?\w*KEY", RECIPE, re.IGNORECASE)
    assert "PYTHONNOUSERSITE=1" in SECTIONS["environment"]


@pytest.mark.parametrize("there", ["apptainer", "singularity", None])
def test_make_image_builds_with_what_is_there_or_says_what_is_missing(called, tmp_path, there):
    for name in {"apptainer", "singularity"} - {there}:
        (called.programs / name).unlink()
    (called.programs / "make").unlink()
    path = f"{called.programs}:{os.environ['PATH']}"
    if any(
        Path(folder, name).exists() for folder in os.environ["PATH"].split(":") for name in ("apptainer", "singularity")
    ):
        pytest.skip("this machine has one of its own")
    done = subprocess.run(
        ["make", "image", "IMAGE=x.sif"], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    if there is None:
        assert done.returncode != 0 and "neither apptainer nor singularity" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    # Where there is no .venv, make asks python3 first whether this environment is complete.
    assert (tmp_path / "calls").read_text().splitlines()[-1] == f"{there} build x.sif envs/formsafe.def"
