"""Folders of strangers: nothing outside the study is written, truncated, deleted or shown."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from formsafe.cluster import recover
from formsafe.cluster.job_environment import prepare_job_environment
from formsafe.core import files
from formsafe.core.errors import FormsafeError
from formsafe.core.files import exclusive, refuse_links_below, replacing, write_json, write_jsonl, write_text
from formsafe.generation.journal import Journal
from formsafe.models import devices
from tests.conftest import ROOT


@pytest.fixture
def victim(tmp_path):
    """A file of the user's own; what was done to it fails the test."""
    file = tmp_path / "home" / "thesis.tex"
    file.parent.mkdir()
    file.write_text("years of work")
    yield file
    assert file.read_text() == "years of work" and sorted(file.parent.iterdir()) == [file]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The folder of a study's results, seen from the checkout."""
    checkout = tmp_path / "checkout"
    (checkout / "results" / "demo" / "runs").mkdir(parents=True)
    monkeypatch.chdir(checkout)
    return checkout / "results" / "demo"


def test_a_linked_temporary_file_is_replaced_not_followed(victim, study):
    (study / ".metrics.json.tmp").symlink_to(victim)
    write_json("results/demo/metrics.json", {"a": 1})
    assert files.read_json(study / "metrics.json") == {"a": 1}
    assert not (study / "metrics.json").is_symlink()


@pytest.mark.parametrize("place", ["results/demo/metrics.json", "results/demo/runs/a/metrics.json"])
@pytest.mark.parametrize("absolute", [True, False])
def test_linked_results_and_folders_are_refused_by_name(victim, study, tmp_path, place, absolute):
    linked = tmp_path / "checkout" / place
    if "runs" in place:
        linked = study / "runs" / "a"
        linked.symlink_to(victim.parent)
    else:
        linked.symlink_to(victim)
    with pytest.raises(FormsafeError, match=rf"{linked.name} is a symbolic link"):
        write_text(tmp_path / "checkout" / place if absolute else place, "x")
    with pytest.raises(FormsafeError, match=rf"{linked.name} is a symbolic link"):
        refuse_links_below("results/demo")


def test_results_themselves_may_be_linked_to_a_larger_disk(study, tmp_path):
    disk = tmp_path / "disk"
    (tmp_path / "checkout" / "results").rename(disk)
    (tmp_path / "checkout" / "results").symlink_to(disk)
    refuse_links_below("results/demo")
    write_text("results/demo/a.txt", "x")
    assert (disk / "demo" / "a.txt").read_text() == "x"


def test_a_linked_study_is_refused(victim, study):
    (study.parent / "other").symlink_to(victim.parent)
    with pytest.raises(FormsafeError, match="other is a symbolic link"):
        refuse_links_below("results/other")
    with pytest.raises(FormsafeError, match="other is a symbolic link"):
        write_text("results/other/new.txt", "x")


def test_a_linked_journal_is_refused(victim, study):
    (study / ".answers.journal.jsonl").symlink_to(victim)
    with pytest.raises(FormsafeError, match="symbolic link"):
        Journal("results/demo/.answers.journal.jsonl", {"code": "c"})


def test_a_planted_folder_in_place_of_the_temporary_file_is_an_error_not_a_loss(study):
    (study / ".a.json.tmp").mkdir()
    with pytest.raises(OSError):
        write_json("results/demo/a.json", {})


HEADER = """Snakemake run information:
  Host: {host}
  Command: snakemake
Study: demo
rule summarise:
    output: results/demo/summary.csv, {output}
    jobid: 3
"""


@dataclass
class Job:
    """What recover asks of a job of Snakemake's graph."""

    outputs: list[str]
    planned: bool = False
    gone: bool = False


@pytest.fixture
def edited(study, monkeypatch):
    """Code was edited since the start that a log tells of: the outputs of jobs that were open would be removed."""
    checkout = study.parents[1]
    (checkout / "config").mkdir()
    (checkout / "config" / "config.yaml").write_text("edited: since")
    (checkout / ".snakemake" / "log").mkdir(parents=True)
    monkeypatch.setattr(recover, "run_snakemake", lambda arguments, directory: None)

    def keep(*outputs, jobs=()):
        log = checkout / ".snakemake" / "log" / "2020-01-01T000000.0.snakemake.log"
        log.write_text(HEADER.format(host=os.uname().nodename, output=", ".join(map(str, outputs))))
        named = set(map(str, outputs))
        monkeypatch.setattr(recover, "finished_unseen", lambda jobs, *others: [j for j in jobs if named & set(j)])
        monkeypatch.setattr(recover, "all_jobs", lambda *arguments: list(jobs))
        recover._keep_finished("demo", [], checkout)

    return keep


@pytest.mark.parametrize("output", ["{victim}", "results/demo/../../../home/thesis.tex", "results/other/summary.csv"])
@pytest.mark.parametrize("of_a_job", [True, False])
def test_recover_deletes_nothing_that_a_planted_log_names(victim, study, edited, output, of_a_job):
    other = study.parent / "other" / "summary.csv"
    other.parent.mkdir()
    other.write_text("another study's")
    output = output.format(victim=victim)
    edited(output, jobs=[Job([output])] if of_a_job and "other" not in output else [])
    assert other.read_text() == "another study's"


def test_a_log_that_cannot_be_read_as_a_command_is_no_traceback():
    from formsafe.cluster.orphans import read_log

    assert read_log("  Command: snakemake 'unbalanced\nStudy: demo\n").study == "demo"


def test_recover_goes_through_no_link(victim, study):
    (study / "inside").symlink_to(victim.parent)
    with pytest.raises(FormsafeError, match="inside is a symbolic link"):
        recover.recover("demo", "wait", [], study.parents[1])


def test_recover_still_removes_the_outputs_of_edited_code(study, edited):
    (study / "summary.csv").write_text("a")
    (study / "loss.csv").write_text("a")
    edited("results/demo/summary.csv", jobs=[Job(["results/demo/summary.csv"])])
    assert not (study / "summary.csv").exists() and (study / "loss.csv").exists()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A world-writable folder for temporary files, and no runtime folder."""
    shared = tmp_path / "tmp"
    shared.mkdir(mode=0o777)
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "no-such-folder"))
    return shared / f"formsafe-gpus-{os.getuid()}"


def test_the_lock_folder_is_the_users_alone(temporary):
    assert devices.lock_folder() == temporary and temporary.stat().st_mode & 0o777 == 0o700
    assert devices.lock_folder() == temporary


def test_a_lock_folder_that_others_can_write_is_refused(temporary):
    temporary.mkdir()
    temporary.chmod(0o770)
    with pytest.raises(FormsafeError, match="open to other users"):
        devices.lock_folder()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make another user's folder")
def test_a_lock_folder_of_another_user_is_refused(temporary):
    temporary.mkdir(mode=0o700)
    os.chown(temporary, 12345, 12345)
    with pytest.raises(FormsafeError, match="or theirs"):
        devices.lock_folder()


def test_a_linked_lock_folder_is_refused(temporary, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o700)
    temporary.symlink_to(tmp_path / "mine")
    with pytest.raises(FormsafeError, match="is a link"):
        devices.lock_folder()


def test_the_runtime_folder_is_preferred(temporary, tmp_path, monkeypatch):
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert devices.lock_folder().parent == runtime and not temporary.exists()


def test_locks_follow_no_link_and_truncate_nothing(victim, tmp_path):
    folder = tmp_path / "locks"
    folder.mkdir(mode=0o700)
    (folder / "GPU-a.lock").symlink_to(victim)
    with pytest.raises(FormsafeError, match="symbolic link"):
        devices.first_free(["GPU-a"], folder)
    (folder / "GPU-b.lock").write_text("kept")
    assert devices.first_free(["GPU-b"], folder) == "GPU-b" and (folder / "GPU-b.lock").read_text() == "kept"


def test_a_lock_excludes_threads_and_processes(tmp_path):
    held = []

    def hold():
        with exclusive(tmp_path / "lock"):
            held.append(True)
            time.sleep(0.02)
            held.pop()
            assert held == []

    threads = [threading.Thread(target=hold) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with exclusive(tmp_path / "lock"):
        script = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "lock")], capture_output=True).returncode


@pytest.fixture
def umask():
    """The umask of most users."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


def test_answers_and_journals_are_private_and_other_results_follow_the_umask(study, umask, monkeypatch):
    monkeypatch.delenv("FORMSAFE_RESULTS_MODE", raising=False)
    write_jsonl("results/demo/answers.jsonl", [{}], private=True)
    write_json("results/demo/metrics.json", {})
    Journal("results/demo/j.jsonl", {}).close()
    assert [mode(study / name) for name in ("answers.jsonl", "metrics.json", "j.jsonl")] == [0o600, 0o644, 0o600]


def test_the_group_reads_answers_where_asked(study, umask, monkeypatch):
    monkeypatch.setenv("FORMSAFE_RESULTS_MODE", "group")
    os.umask(0o027)
    write_jsonl("results/demo/answers.jsonl", [{}], private=True)
    Journal("results/demo/j.jsonl", {}).close()
    assert mode(study / "answers.jsonl") == mode(study / "j.jsonl") == 0o640


def test_weights_follow_the_umask_though_safetensors_writes_for_the_owner_alone(study, umask):
    import torch
    from safetensors.torch import save_file

    with replacing("results/demo/adapter.safetensors") as temporary:
        save_file({"w": torch.zeros(1)}, temporary)
    assert mode(study / "adapter.safetensors") == 0o644


def test_jobs_inherit_the_mode_and_the_library(study, umask, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "theirs")
    monkeypatch.setenv("FORMSAFE_RESULTS_MODE", "private")
    os.umask(0o077)
    prepare_job_environment(Path("ours"), "private")
    subprocess.run(["touch", "results/demo/private"], check=True)
    prepare_job_environment(Path("ours"), "group")
    subprocess.run(["touch", "results/demo/shared"], check=True)
    assert (mode(study / "private"), mode(study / "shared")) == (0o600, 0o640)
    assert (os.environ["PYTHONPATH"].split(":")[0], os.environ["FORMSAFE_RESULTS_MODE"]) == ("ours", "group")


def test_the_workflow_prepares_the_environment_of_its_jobs():
    common = (ROOT / "workflow/rules/common.smk").read_text()
    assert "prepare_job_environment(SCRIPTS, STUDY.results_mode)" in common
    assert "refuse_links_below(L.root)" in common
