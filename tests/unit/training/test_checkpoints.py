"""Checkpoints are whole or not there."""

import os
import shutil

import pytest

from formsafe.training import checkpoints
from formsafe.training.checkpoints import latest, open_scratch, remove_scratch, writing


def put(scratch, step, content="weights"):
    with writing(scratch, step) as partial:
        folder = partial / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_text(content)


def test_the_newest_whole_checkpoint_is_found_and_older_ones_are_dropped(tmp_path):
    scratch = open_scratch(tmp_path, {"seed": 0})
    assert latest(scratch) is None
    for step in (5, 10, 100):
        put(scratch, step)
    assert latest(scratch).name == "checkpoint-100"
    assert [path.name for path in scratch.glob("checkpoint-*")] == ["checkpoint-100"]


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    scratch = open_scratch(tmp_path, {"seed": 0})
    put(scratch, 5)
    with pytest.raises(KeyboardInterrupt), writing(scratch, 10) as partial:
        folder = partial / "checkpoint-10"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_text("half")
        raise KeyboardInterrupt
    assert latest(open_scratch(tmp_path, {"seed": 0})).name == "checkpoint-5"
    put(scratch, 10)
    assert (latest(scratch) / "adapter_model.safetensors").read_text() == "weights"


def test_checkpoints_of_another_job_are_thrown_away(tmp_path):
    put(open_scratch(tmp_path, {"seed": 0}), 5)
    assert latest(open_scratch(tmp_path, {"seed": 0})) is not None
    assert latest(open_scratch(tmp_path, {"seed": 1})) is None


def test_a_job_is_the_same_in_whatever_order_it_is_written(tmp_path):
    put(open_scratch(tmp_path, {"seed": 0, "rate": 1e-4}), 5)
    assert latest(open_scratch(tmp_path, {"rate": 1e-4, "seed": 0})) is not None


def test_a_checkpoint_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done, rename = [], os.rename
    monkeypatch.setattr(checkpoints, "sync", lambda path: done.append(path.name))
    monkeypatch.setattr(checkpoints.os, "rename", lambda *paths: done.append("renamed") or rename(*paths))
    scratch = open_scratch(tmp_path, {"seed": 0})
    done.clear()
    put(scratch, 5)
    assert done == ["adapter_model.safetensors", "checkpoint-5", "renamed", scratch.name]


def test_nothing_continues_from_a_scratch_folder_whose_removal_was_cut_short(tmp_path, monkeypatch):
    scratch = open_scratch(tmp_path, {"seed": 0})
    put(scratch, 5)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        remove_scratch(scratch)
    (scratch / "checkpoint-5" / "adapter_model.safetensors").unlink()
    assert latest(open_scratch(tmp_path, {"seed": 0})) is None
