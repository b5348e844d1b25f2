"""4-bit training on a GPU: both stages, against the same training in fp32 on the CPU."""

import csv
import os
import signal
from pathlib import Path

import pytest
import torch
from torch.nn.attention import varlen

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json
from formsafe.models import varlen_attention
from formsafe.models.load import Placement, load_model, load_tokenizer
from formsafe.training.collation import Collator
from formsafe.training.examples import tokenise
from formsafe.training.stages import Inputs, train_adapter, tune_soft_prompt
from formsafe.training.trainer import SplitLossTrainer
from tests.four_bit import lora_gradients, on_device
from tests.losses import token_losses
from tests.tiny import write_tiny_model
from tests.training_cases import adapter_settings, job, model_settings, soft_prompt_settings, write_rows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; PyTorch finds none here")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("gpu") / "model", hidden=64)


def losses(folder: Path) -> list[float]:
    with open(folder / "loss.csv", newline="") as lines:
        return [float(row["loss"]) for row in csv.DictReader(lines)]


def test_both_stages_train_in_4_bit(model, tmp_path):
    outcomes = {}
    for device, quantisation in (("cuda", "nf4"), ("cpu", "none")):
        own = job(tmp_path / device, model, rows=40)
        own["model"] = model_settings(model, device=device, quantisation=quantisation)
        first = Inputs(**{**own, "folder": tmp_path / device / "stage 1"})
        tune_soft_prompt(first, soft_prompt_settings())
        second = Inputs(**{**own, "folder": tmp_path / device / "stage 2"})
        train_adapter(second, adapter_settings(dropout=0.01), 1e-2, first.folder)
        outcomes[device] = losses(first.folder) + losses(second.folder)
        metrics = read_json(second.folder / "metrics.json")
        assert metrics["padding_free"]
        assert device == "cpu" or metrics["peak_gpu_memory_bytes"] > 0
    assert outcomes["cuda"] == pytest.approx(outcomes["cpu"], rel=0.02)
    assert outcomes["cuda"][-1] < outcomes["cuda"][5]


def test_padding_free_attention_on_the_gpu_is_padded_attention(model, tmp_path):
    tokenizer = load_tokenizer(model)
    rows = tokenise(
        write_rows(tmp_path / "t", 8), tokenizer, [tokenizer.eos_token_id], max_length=512, tolerance=0
    ).rows
    seen = {}
    for attention, flat in ((varlen_attention.NAME, True), ("sdpa", False)):
        loaded = load_model(model, Placement("cuda", "bfloat16", "none", attention))
        loaded.get_input_embeddings().weight.requires_grad_(True)
        batch = on_device(Collator(flat)(rows), "cuda")
        token_losses(loaded, loaded.get_input_embeddings(), batch, None).sum().backward()
        seen[flat] = loaded.get_input_embeddings().weight.grad.float().flatten()
    assert torch.cosine_similarity(seen[True], seen[False], dim=0) > 0.999


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
def test_a_stopped_training_continues_on_the_gpu(model, tmp_path, monkeypatch, checkpointing):
    """What is random and what is not on a GPU: the steps before the stop are kept, the rest follows closely."""
    own = job(tmp_path, model, rows=12, gradient_checkpointing=checkpointing)
    own["model"] = model_settings(model, device="cuda", quantisation="nf4")
    settings = adapter_settings(batch_size=2, gradient_accumulation=1, epochs=1.0, dropout=0.1)
    undisturbed = Inputs(**{**own, "folder": tmp_path / "undisturbed"})
    train_adapter(undisturbed, settings, 1e-2)
    compute, calls = SplitLossTrainer.compute_loss, []

    def compute_loss(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SplitLossTrainer, "compute_loss", compute_loss)
        with pytest.raises(FormsafeError, match="stopped by SIGTERM at step 4 of 6"):
            train_adapter(Inputs(**own), settings, 1e-2)
    train_adapter(Inputs(**own), settings, 1e-2)
    metrics = read_json(own["folder"] / "metrics.json")
    assert (metrics["continued_from_step"], metrics["gradient_checkpointing"]) == (4, checkpointing)
    assert losses(own["folder"]) == pytest.approx(losses(undisturbed.folder), rel=0.02)


def test_4bit_gradients_on_a_gpu_are_those_of_the_dequantised_weights(model, tmp_path):
    ours, truth = lora_gradients(model, write_rows(tmp_path / "t", 4), "cuda")
    assert torch.cosine_similarity(ours[-1].cpu(), truth[-1].cpu(), dim=0) >= 0.99


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_kernel_for_examples_of_different_lengths_is_called(model, tmp_path, monkeypatch, dtype):
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("the kernel needs compute capability 8.0")
    kernel, calls = varlen.varlen_attn, []

    def counted(*args, **kwargs):
        calls.append(1)
        return kernel(*args, **kwargs)

    monkeypatch.setattr(varlen, "varlen_attn", counted)
    own = job(tmp_path, model, rows=8)
    own["model"] = model_settings(model, device="cuda", dtype=dtype)
    train_adapter(Inputs(**own), adapter_settings(epochs=1.0), 1e-2)
    assert calls
