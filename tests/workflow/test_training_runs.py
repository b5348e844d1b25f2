"""Whole trainings of a tiny model: equal batches, seeds, 4 bits, signals and a lack of memory."""

import csv
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, write_json
from formsafe.training.stages import Inputs, train_adapter, tune_soft_prompt
from formsafe.training.trainer import SplitLossTrainer
from tests.tiny import write_tiny_model
from tests.training_cases import adapter_settings, job, model_settings, soft_prompt_settings

FILES = {"adapter_config.json", "adapter_model.safetensors", "loss.csv", "validation.csv", "metrics.json"}


def table(path):
    with open(path, newline="") as lines:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def result(folder):
    return load_file(folder / "adapter_model.safetensors"), table(folder / "loss.csv")


def test_batch_8_is_4_times_2_is_1_times_8_also_as_one_micro_batch(tiny_model, tmp_path):
    outcomes = []
    for batch, accumulation, micro in ((8, 1, 8), (4, 2, "auto"), (1, 8, 1), (8, 1, 2), (4, 2, 8), (2, 4, 8)):
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


@pytest.fixture(scope="module")
def soft_prompt(tiny_model, tmp_path_factory):
    inputs = Inputs(**job(tmp_path_factory.mktemp("soft"), tiny_model, rows=8))
    tune_soft_prompt(inputs, soft_prompt_settings())
    return inputs.folder


@pytest.mark.parametrize(
    ("stage", "number"), [("sft", signal.SIGUSR1), ("stage 1", signal.SIGTERM), ("stage 2", signal.SIGTERM)]
)
def test_a_signal_leaves_a_checkpoint_from_which_the_next_run_continues(
    tiny_model, soft_prompt, tmp_path, capsys, monkeypatch, stage, number
):
    small = {"batch_size": 2, "gradient_accumulation": 1, "epochs": 1.0}

    def train(inputs):
        if stage == "stage 1":
            tune_soft_prompt(inputs, soft_prompt_settings(**small))
        else:
            prompt = soft_prompt if stage == "stage 2" else None
            train_adapter(inputs, adapter_settings(**small, dropout=0.1), 1e-2, prompt)

    own = job(tmp_path / "a", tiny_model, rows=12)
    train(Inputs(**{**own, "folder": tmp_path / "undisturbed"}))
    losses, calls = SplitLossTrainer.compute_loss, []

    def compute_loss(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), number)
        return losses(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SplitLossTrainer, "compute_loss", compute_loss)
        with pytest.raises(FormsafeError, match=f"stopped by {number.name} at step 4 of 6.*Run again"):
            train(Inputs(**own))
    assert not own["folder"].joinpath("metrics.json").exists()
    (state,) = own["folder"].glob(".checkpoints/checkpoint-4/trainer_state.json")
    kept = read_json(state)
    kept["log_history"][0]["seconds"] = 5.0
    write_json(state, kept)
    capsys.readouterr()
    train(Inputs(**own))
    shown = capsys.readouterr()
    assert "continuing from step 4" in shown.out
    metrics = read_json(own["folder"] / "metrics.json")
    assert (metrics["continued_from_step"], metrics["steps"]) == (4, 6)
    assert metrics["training_seconds"] == pytest.approx(metrics["tokens"] / metrics["tokens_per_second"], rel=0.02)
    assert 5 < metrics["training_seconds"] + metrics["validation_seconds"] < metrics["seconds"]
    assert "6/6" in shown.err and "loss=" in shown.err, "the progress bar counts the steps done before"
    for name in FILES - {"metrics.json"}:
        assert (own["folder"] / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert {path.name for path in own["folder"].iterdir()} == FILES


def test_both_stages_train_in_4_bit_with_and_without_gradient_checkpointing(tmp_path, monkeypatch):
    """NF4 goes through the whole Trainer, validations between steps included; checkpointing must be on where asked."""
    pytest.importorskip("bitsandbytes")
    model = write_tiny_model(tmp_path / "model", hidden=64)  # widths must be multiples of 32
    losses, seen = SplitLossTrainer.compute_loss, set()

    def compute_loss(self, *args, **kwargs):
        layers = self._peft.get_base_model().model.layers
        seen.add((all(layer.gradient_checkpointing for layer in layers), layers[0].self_attn.q_proj.weight.dtype))
        return losses(self, *args, **kwargs)

    monkeypatch.setattr(SplitLossTrainer, "compute_loss", compute_loss)
    outcomes = []
    for quantisation, checkpointing in (("nf4", False), ("nf4", True), ("none", False)):
        own = job(tmp_path / f"{quantisation}-{checkpointing}", model, gradient_checkpointing=checkpointing)
        own["model"] = model_settings(model, quantisation=quantisation)
        first, second = (Inputs(**{**own, "folder": own["folder"] / stage}) for stage in ("one", "two"))
        seen.clear()
        tune_soft_prompt(first, soft_prompt_settings())
        train_adapter(second, adapter_settings(), 1e-2, first.folder)
        assert read_json(second.folder / "metrics.json")["gradient_checkpointing"] == checkpointing
        assert seen == {(checkpointing, torch.uint8 if quantisation == "nf4" else torch.float32)}
        outcomes.append([row["loss"] for inputs in (first, second) for row in table(inputs.folder / "loss.csv")])
    plain, checkpointed, exact = outcomes
    assert checkpointed == plain
    assert plain != exact and plain == pytest.approx(exact, rel=0.02)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
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
    train_adapter(Inputs(**{**own, "folder": tmp_path / "undisturbed"}), settings, 1e-2)
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
    rows, expected = table(own["folder"] / "loss.csv"), table(tmp_path / "undisturbed" / "loss.csv")
    assert len(rows) == 4 and rows[:3] == expected[:3]
    assert rows[3]["format_tokens"] == expected[3]["format_tokens"], "the examples that were left, and no others"
    assert rows[3]["loss"] == pytest.approx(expected[3]["loss"], rel=1e-5)
