"""Loading: every `auto` settled, and what does not fit refused with a remedy."""

import importlib.util
import json
import shutil
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, GPTNeoConfig, GPTNeoForCausalLM

from formsafe.core.errors import FormsafeError
from formsafe.models import decode_attention, varlen_attention
from formsafe.models.context import read_context
from formsafe.models.load import (
    Placement,
    end_of_turn_ids,
    keep_weights_as_loaded,
    load_adapter,
    load_model,
    load_soft_prompt,
    load_tokenizer,
    place,
)
from formsafe.models.shapes import ModelShape
from formsafe.training.stages import add_soft_prompt
from tests.four_bit import lora_gradients
from tests.tiny import write_tiny_model
from tests.training_cases import model_settings, write_rows

CPU = Placement("cpu", "float32", "none", "sdpa")


def placed(folder, purpose, memory_gb, **changes):
    return place(read_context(folder, model_settings(folder, **changes), memory_gb), purpose)


def test_auto_is_fp32_without_quantised_answers_on_a_cpu(tiny_model):
    assert placed(tiny_model, "training", "auto", quantisation="nf4") == Placement(
        "cpu", "float32", "nf4", varlen_attention.NAME
    )
    assert placed(tiny_model, "inference", 24, quantisation="nf4") == CPU


def test_auto_is_bf16_on_a_gpu(tiny_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    large = {"quantisation": "nf4", "device": "auto", "parameters": 8e9}
    training = Placement("cuda", "bfloat16", "nf4", varlen_attention.NAME)
    assert placed(tiny_model, "training", 24, **large) == training
    assert placed(tiny_model, "inference", 80, **large).quantisation == "none"
    answering = Placement("cuda", "bfloat16", "none", decode_attention.NAME)
    assert placed(tiny_model, "inference", 80, **large) == answering
    assert placed(tiny_model, "inference", 80, **large, attention="sdpa").attention == "sdpa"
    assert placed(tiny_model, "training", 80, device="cpu").device == "cpu"


def test_answers_are_quantised_by_the_shape_of_the_model(tiny_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    guessed = read_context(tiny_model, model_settings(tiny_model, device="auto", parameters=7.25e9), 24)
    known = replace(guessed, shape=ModelShape(32, 4096, 14336, 32, 8, 128, 32768))
    assert place(known, "inference").quantisation == "none"
    assert place(guessed, "inference").quantisation == "nf4", "every head with keys and values of its own"


def test_an_architecture_without_sdpa_is_loaded_with_eager_attention(tmp_path):
    """Of the causal architectures of transformers, about one in five has no sdpa and is refused with it."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 97, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    for name, kind, config in (
        ("without", GPTNeoForCausalLM, GPTNeoConfig(num_layers=2, attention_types=[[["global"], 2]], hidden_size=32)),
        ("with", Gemma2ForCausalLM, Gemma2Config(**sizes, **heads)),
    ):
        kind(config).save_pretrained(tmp_path / name)
    eager = "eager" if not GPTNeoForCausalLM._supports_sdpa else "sdpa"
    for name, attention in (("without", eager), ("with", "sdpa" if Gemma2ForCausalLM._supports_sdpa else "eager")):
        for purpose in ("training", "inference"):
            placement = placed(tmp_path / name, purpose, "auto")
            assert placement.attention == attention
            assert load_model(tmp_path / name, placement).config._attn_implementation == attention
    assert not GPTNeoForCausalLM._supports_sdpa


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [("cuda", (9, 0), []), ("cuda", (10, 0), [False]), ("cuda", (12, 0), [False]), ("cpu", (10, 0), [])],
)
def test_cudnns_attention_is_off_where_it_writes_wrong_text(device, capability, expected, tiny_model, monkeypatch):
    switched = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", switched.append)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: torch.nn.Linear(1, 1))
    load_model(tiny_model, Placement(device, "bfloat16", "none", "sdpa"))
    assert switched == expected


def test_a_folder_that_has_gone_is_named_with_the_remedy(tmp_path):
    for load in (load_tokenizer, lambda folder: load_model(folder, CPU)):
        with pytest.raises(FormsafeError, match=r"gone does not exist.*Delete the model's manifest"):
            load(tmp_path / "gone")


def test_a_gpu_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FormsafeError, match=r"finds no GPU here.*device to auto or cpu"):
        read_context(tmp_path, model_settings(tmp_path, device="cuda"), 24)


def test_a_model_without_chat_template_is_refused(tiny_model, tmp_path):
    bare = shutil.copytree(tiny_model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(FormsafeError, match=r"has no chat template.*instruction-tuned"):
        load_tokenizer(bare)


def test_answers_end_where_the_generation_config_or_the_tokenizer_says(tiny_model):
    tokenizer, model = load_tokenizer(tiny_model), load_model(tiny_model, CPU)
    model.generation_config.eos_token_id = [4, 1]
    assert end_of_turn_ids(tokenizer, model) == [1, tokenizer.eos_token_id, 4]
    model.generation_config.eos_token_id = None
    assert end_of_turn_ids(tokenizer, model) == [tokenizer.eos_token_id]


@pytest.fixture(scope="module")
def soft_prompt_folder(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("soft")
    add_soft_prompt(load_model(tiny_model, CPU), 6, seed=0).save_pretrained(folder)
    return folder


def test_a_soft_prompt_comes_back_as_it_was_saved(tiny_model, soft_prompt_folder):
    model = load_model(tiny_model, CPU)
    expected = add_soft_prompt(load_model(tiny_model, CPU), 6, seed=0)
    loaded = load_soft_prompt(soft_prompt_folder, model)
    assert torch.equal(loaded, expected.prompt_encoder["default"].embedding.weight)
    assert loaded.shape == (6, 32) and not loaded.requires_grad


def test_a_soft_prompt_of_another_model_is_refused(tiny_model, soft_prompt_folder, tmp_path):
    other = load_model(write_tiny_model(tmp_path / "other", hidden=16), CPU)
    with pytest.raises(FormsafeError, match="was tuned on"):
        load_soft_prompt(soft_prompt_folder, other)
    disguised = shutil.copytree(soft_prompt_folder, tmp_path / "disguised")
    config = json.loads((disguised / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "other")
    (disguised / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(FormsafeError, match=r"shape \(6, 32\).*dimension 16"):
        load_soft_prompt(disguised, other)


@pytest.mark.parametrize(("commit", "fits"), [("a1", True), ("b2", False)])
def test_a_soft_prompt_is_its_models_after_the_hubs_cache_has_moved(tiny_model, tmp_path, commit, fits):
    here, there = (tmp_path / f"{cache}/models--owner--name/snapshots" for cache in ("old", "new"))
    shutil.copytree(tiny_model, here / "a1")
    add_soft_prompt(load_model(here / "a1", CPU), 6, seed=0).save_pretrained(tmp_path / "soft")
    there.mkdir(parents=True)
    (here / "a1").rename(there / commit)
    model = load_model(there / commit, CPU)
    if fits:
        assert load_soft_prompt(tmp_path / "soft", model).shape == (6, 32)
    else:
        with pytest.raises(FormsafeError, match="was tuned on"):
            load_soft_prompt(tmp_path / "soft", model)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError("CUDA driver error: out of memory")])
def test_an_adapter_or_a_model_without_memory_is_not_blamed(tiny_model, monkeypatch, error):
    model = load_model(tiny_model, CPU)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("peft.PeftModel.from_pretrained", fail)
    with pytest.raises(FormsafeError, match="too little memory"):
        load_adapter(model, "adapter")
    monkeypatch.setattr("formsafe.models.load.AutoModelForCausalLM.from_pretrained", fail)
    with pytest.raises(FormsafeError, match="too little memory"):
        load_model(tiny_model, CPU)


def test_an_adapter_of_another_model_is_refused(tiny_model, tmp_path):
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    other = load_model(write_tiny_model(tmp_path / "other", hidden=16), CPU)
    get_peft_model(other, config).save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    with pytest.raises(FormsafeError, match="does not fit"):
        load_adapter(load_model(tiny_model, CPU), tmp_path / "adapter")


def test_windowed_attention_is_not_flattened(tiny_model):
    from transformers import Gemma2Config, LlamaConfig, MistralConfig, Qwen2Config

    assert varlen_attention.supports(LlamaConfig()) and varlen_attention.supports(Qwen2Config(use_sliding_window=False))
    assert varlen_attention.supports(MistralConfig(sliding_window=None))
    assert not varlen_attention.supports(MistralConfig(sliding_window=4096))
    assert not varlen_attention.supports(Gemma2Config())
    assert load_model(tiny_model, CPU).config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("error", "free"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 10e9),
        (RuntimeError("We encountered some issues during automatic conversion of the weights"), 1e9),
        (RuntimeError("We encountered some issues during automatic conversion of the weights"), 10e9),
    ],
    ids=["told", "untold", "another cause"],
)
def test_weights_that_do_not_fit_say_what_to_change(tiny_model, monkeypatch, error, free):
    """While it quantises, transformers swallows the lack of memory and fails later with other words."""

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free), int(24e9)))
    other = free > 1e9 and not isinstance(error, torch.OutOfMemoryError)
    wanted, words = (RuntimeError, "conversion") if other else (FormsafeError, r"too little memory.*nf4.*nvidia-smi")
    with pytest.raises(wanted, match=words):
        load_model(tiny_model, Placement("cuda", "bfloat16", "none", "sdpa"))


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is installed here")
def test_flash_attention_that_is_not_installed_is_an_error_that_names_the_setting(tiny_model):
    with pytest.raises(FormsafeError, match=r"needs the package flash-attn.*attention to auto or sdpa"):
        load_model(tiny_model, Placement("cpu", "float32", "none", "flash_attention_2"))


def test_no_4bit_layer_repacks_its_weights():
    """The switch must be there under this name, also on a CPU on which bitsandbytes leaves it off."""
    bnb = pytest.importorskip("bitsandbytes")
    layer = bnb.nn.Linear4bit(32, 32)
    assert hasattr(layer, "support_avx512bf16_for_cpu")
    layer.support_avx512bf16_for_cpu = True
    keep_weights_as_loaded(torch.nn.Sequential(layer))
    assert layer.support_avx512bf16_for_cpu is False


def test_4bit_gradients_on_a_cpu_are_right_also_after_an_evaluation(tmp_path):
    """bitsandbytes repacks weights at the first evaluation on some CPUs; gradients are then silently wrong."""
    pytest.importorskip("bitsandbytes")
    model = write_tiny_model(tmp_path / "model", hidden=64)  # widths must be multiples of 32
    for ours, truth in zip(*lora_gradients(model, write_rows(tmp_path / "t", 4), "cpu"), strict=True):
        assert torch.cosine_similarity(ours, truth, dim=0) >= 0.99
