"""Whole trainings of a tiny model: equal batches, seeds, signals and a lack of memory."""

import csv
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from formsafe.errors import FormsafeError
from formsafe.files import read_json
from formsafe.trainer import SplitLossTrainer
from formsafe.training import Inputs, train_adapter
from tests.training_cases import adapter_settings, job

FILES = {"adapter_config.json", "adapter_model.safetensors", "loss.csv", "validation.csv", "metrics.json"}


def table(path):
    with open(path, newline="") as lines:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def result(folder):
    return load_file(folder / "adapter_model.safetensors"), table(folder / "loss.csv")


def test_batch_8_is_4_times_2_is_1_times_8(tiny_model, tmp_path):
    outcomes = []
    for batch, accumulation, micro in ((8, 1, 8), (4, 2, "auto"), (1, 8, 1), (8, 1, 2)):
        inputs = Inputs(**job(tmp_path / f"{batch}-{micro}", tiny_model, rows=20, micro_batch_size=micro))
        settings = adapter_settings(batch_size=batch, gradient_accumulation=accumulation, epochs=1.0)
        train_adapter(inputs, settings, 1e-2)
        outcomes.append(result(inputs.folder))
    weights, rows = outcomes[0]
    assert len(rows) == 3, "the last step of the epoch is a smaller one"
    for other_weights, other_rows in outcomes[1:]:
        for row, other in zip(rows, other_rows, strict=True):
            assert other["loss"] == pytest.approx(row["loss"], rel=1e-5)
            assert other["grad_norm"] == pytest.approx(row["grad_norm"], rel=1e-4)
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, rtol=1e-2, atol=1e-4)


def test_a_result_depends_on_its_seed_and_on_nothing_that_ran_before(tiny_model, tmp_path):
    own = job(tmp_path / "a", tiny_model, rows=8)
    settings = adapter_settings(epochs=1.0, dropout=0.1)
    contents = []
    for number, seed in enumerate((0, 1, 0)):
        torch.rand(number)
        inputs = Inputs(**{**own, "seed": seed, "folder": tmp_path / f"out-{number}"})
        train_adapter(inputs, settings, 1e-2)
        contents.append((inputs.folder / "adapter_model.safetensors").read_bytes())
    assert contents[0] == contents[2] != contents[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_a_checkpoint_from_which_the_next_run_continues(
    tiny_model, tmp_path, capsys, monkeypatch, number
):
    own = job(tmp_path / "a", tiny_model, rows=12)
    settings = adapter_settings(batch_size=2, gradient_accumulation=1, epochs=1.0, dropout=0.1)
    train_adapter(Inputs(**{**own, "folder": tmp_path / "undisturbed"}), settings, 1e-2)
    losses, calls = SplitLossTrainer.compute_loss, []

    def compute_loss(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), number)
        return losses(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SplitLossTrainer, "compute_loss", compute_loss)
        with pytest.raises(FormsafeError, match=f"stopped by {number.name} at step 4 of 6.*Run again"):
            train_adapter(Inputs(**own), settings, 1e-2)
    assert not own["folder"].joinpath("metrics.json").exists()
    train_adapter(Inputs(**own), settings, 1e-2)
    assert "continuing from step 4" in capsys.readouterr().out
    for name in FILES - {"metrics.json"}:
        assert (own["folder"] / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert {path.name for path in own["folder"].iterdir()} == FILES


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_out_of_memory_says_what_to_change_and_the_smaller_job_continues(
    tiny_model, tmp_path, monkeypatch, capsys, error
):
    own = job(tmp_path, tiny_model, rows=4)
    losses, calls = SplitLossTrainer.compute_loss, []

    def compute_loss(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 3:
            raise error
        return losses(self, *args, **kwargs)

    own["training"] = own["training"].model_copy(update={"checkpoint_minutes": 1e-9})
    settings = adapter_settings(batch_size=2, gradient_accumulation=1)
    with monkeypatch.context() as patch:
        patch.setattr(SplitLossTrainer, "compute_loss", compute_loss)
        with pytest.raises(FormsafeError, match=r"micro_batch_size.*gradient_checkpointing"):
            train_adapter(Inputs(**own), settings, 1e-2)
    assert (own["folder"] / ".checkpoints" / "checkpoint-3").is_dir()
    assert not (own["folder"] / "metrics.json").exists()
    own["training"] = own["training"].model_copy(update={"micro_batch_size": 1})
    train_adapter(Inputs(**own), settings, 1e-2)
    assert "continuing from step 3" in capsys.readouterr().out
    assert read_json(own["folder"] / "metrics.json")["micro_batch_size"] == 1
    assert len(table(own["folder"] / "loss.csv")) == 4
