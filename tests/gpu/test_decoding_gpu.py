"""Decoding on a GPU: the captured step writes what the loop in Python writes, also after a kill."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from formsafe.config.settings.generation import GenerationSettings
from formsafe.generation.journal import Journal
from formsafe.generation.local_engine import load_engine
from formsafe.generation.replies import Prompt, ask
from formsafe.generation.static_steps import StaticSteps
from formsafe.models import decode_attention
from formsafe.models.decode_attention import attend_jointly, decode_attention_forward
from formsafe.models.memory import static_columns
from tests.talkative import prompts, write_talkative_model
from tests.tiny import write_tiny_model
from tests.training_cases import model_settings
from tests.unit.models.test_decode_attention import Layer, states

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; PyTorch finds none here")
GREEDY = GenerationSettings(max_new_tokens=40, token_budget=4000)
PROMPTS = [Prompt(str(number), text) for number, text in enumerate(prompts(120))]
SHARED = [Prompt(prompt.id, prompt.text, "Answer in short. " * 9) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("gpu")
    return write_talkative_model(write_tiny_model(base / "tiny", hidden=64), base / "talkative")


@pytest.fixture(scope="module")
def adapter(folder, tmp_path_factory):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), lora)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    out = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(out)
    return out


def engine(folder, adapter=None, **changes):
    chosen = model_settings(folder, **{"device": "cuda", "dtype": "float32", **changes})
    return load_engine(folder, chosen, GREEDY, "auto", adapter=adapter)


def answers(made, asked, path):
    return [reply.text for reply in ask(made, asked, GREEDY, Journal(path, {}), "s")]


@pytest.mark.parametrize("asked", [PROMPTS, SHARED], ids=["plain", "shared prefix"])
@pytest.mark.parametrize("with_adapter", [False, True])
def test_the_captured_step_writes_the_text_of_the_loop_in_fp32(folder, adapter, asked, with_adapter, tmp_path):
    own = adapter if with_adapter else None
    captured, eager = engine(folder, own), engine(folder, own, attention="sdpa")
    assert captured.static and not eager.static
    assert answers(captured, asked, tmp_path / "captured") == answers(eager, asked, tmp_path / "eager")
    assert captured.graphs.captured > 0 and captured.graphs.refused is None


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
def test_16_bits_and_4_bits_are_captured_too(folder, adapter, quantisation, tmp_path):
    pytest.importorskip("bitsandbytes")
    made = engine(folder, adapter, dtype="bfloat16", inference_quantisation=quantisation)
    found = answers(made, SHARED, tmp_path / "one")
    assert found == answers(made, SHARED, tmp_path / "two"), "the same batches give the same text"
    assert made.graphs.captured > 0, made.graphs.refused


def test_a_kill_in_the_middle_leaves_the_same_text(folder, tmp_path, monkeypatch):
    made = engine(folder, dtype="bfloat16")
    whole, steps, calls = answers(made, PROMPTS, tmp_path / "whole"), StaticSteps.step, []

    def dying(self, tokens):
        calls.append(1)
        if len(calls) == 70:
            raise KeyboardInterrupt
        return steps(self, tokens)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StaticSteps, "step", dying)
        answers(made, PROMPTS, tmp_path / "killed")
    assert Journal(tmp_path / "killed", {}).continued > 0
    assert answers(engine(folder, dtype="bfloat16"), PROMPTS, tmp_path / "killed") == whole


@pytest.mark.parametrize("rows", [3, 300])
@pytest.mark.parametrize("reach", [256, 512, static_columns(569)])
@pytest.mark.parametrize(
    ("heads", "key_heads", "width"), [(8, 2, 64), (32, 8, 128), (32, 32, 128), (28, 4, 128), (12, 2, 128)]
)
def test_the_attention_of_cudnn_is_that_of_fp32_but_for_16_bits(rows, reach, heads, key_heads, width):
    """At a row's own columns and a mask, on a part of larger buffers, as the captured step has it; half of the rows
    begin with so many pads that whole tiles of keys are masked."""
    torch.manual_seed(0)
    query = torch.randn(rows, heads, 1, width, device="cuda").bfloat16()
    stores = (torch.randn(rows + 2, key_heads, 640, width, device="cuda").bfloat16() for _ in range(2))
    mask = (torch.rand(rows + 2, 1, 1, 640, device="cuda") < 0.7)[:rows, ..., :reach]
    mask[::2, ..., :300] = False
    mask[..., -1] = True
    half = [query, *(store[:rows, :, :reach] for store in stores)]
    if not decode_attention._cudnn_serves(*half, mask):
        pytest.skip("cuDNN has no such kernel here")
    found, _ = decode_attention_forward(Layer(heads // key_heads), *half, mask)
    whole = (tensor.float() for tensor in half)
    truth, _ = decode_attention_forward(Layer(heads // key_heads), *whole, mask)
    errors, sizes = (each.flatten(1).norm(dim=1) for each in (found.float() - truth, truth))
    assert (errors / sizes).max() < 0.02, "the worst row"


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_the_joined_attention_is_ordinary_attention(dtype, tolerance):
    torch.manual_seed(0)
    query, key, value = states(6, 8, 1, 64), states(6, 2, 70, 64), states(6, 2, 70, 64)
    prefix = (states(1, 2, 300, 64), states(1, 2, 300, 64))
    mask = torch.rand(6, 1, 1, 70) < 0.7
    mask[..., -1] = True
    truth = attend_jointly(query, key, value, mask, prefix, 0.125)
    kind = getattr(torch, dtype)
    moved = [tensor.cuda().to(kind) for tensor in (query, key, value)]
    found = attend_jointly(*moved, mask.cuda(), tuple(part.cuda().to(kind) for part in prefix), 0.125)
    assert (found.float().cpu() - truth).norm() / truth.norm() < tolerance


def test_the_tokenizer_of_these_tests_knows_their_prompts(folder):
    assert len(AutoTokenizer.from_pretrained(folder).encode(PROMPTS[0].text)) > 3
