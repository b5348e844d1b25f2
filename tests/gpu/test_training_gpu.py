"""4-bit training on a GPU: both stages, against the same training in fp32 on the CPU."""

import csv
from pathlib import Path

import pytest
import torch

from formsafe import varlen_attention
from formsafe.collation import Collator
from formsafe.examples import tokenise
from formsafe.files import read_json
from formsafe.models import Placement, load_model, load_tokenizer
from formsafe.trainer import token_losses
from formsafe.training import Inputs, train_adapter, tune_soft_prompt
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
        batch = {
            name: {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in value.items()}
            if isinstance(value, dict)
            else value.cuda()
            if isinstance(value, torch.Tensor)
            else value
            for name, value in Collator(flat)(rows).items()
        }
        token_losses(loaded, loaded.get_input_embeddings(), batch, None).sum().backward()
        seen[flat] = loaded.get_input_embeddings().weight.grad.float().flatten()
    assert torch.cosine_similarity(seen[True], seen[False], dim=0) > 0.999
