"""Memory plans fit their card, grow with it, and their bytes agree with what PyTorch really keeps."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formsafe.models import memory
from formsafe.models.shapes import LLAMA_2_7B, LLAMA_3_1_8B, ModelShape, of_config, of_folder, of_size

SHAPES = {"8b": LLAMA_3_1_8B, "7b": LLAMA_2_7B}
CARDS = (24, 40, 80, 140)


def estimated_training(shape, plan, tokens_per_example):
    return memory.training_bytes(
        shape, plan.micro_batch_size * tokens_per_example, checkpointing=plan.gradient_checkpointing
    )


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("tokens", [160, 320, 1056])
def test_the_plan_fits_its_card_by_its_own_estimate(shape, card, tokens):
    plan = memory.plan(card, shape.parameters, tokens_per_example=tokens)
    assert estimated_training(shape, plan, tokens) <= card * 1e9
    answering = memory.inference_bytes(shape, plan.token_budget, quantisation=plan.inference_quantisation)
    assert answering <= card * 1e9
    assert 16 % plan.micro_batch_size == 0
    assert plan.token_budget >= 2 * (1100 + 512), "at least two judgements at once"


def test_all_stages_of_8b_fit_into_24_gb_with_the_papers_batch():
    plan = memory.plan(24, LLAMA_3_1_8B.parameters, tokens_per_example=320)
    assert plan.micro_batch_size >= 2
    assert plan.token_budget >= 16384


@given(
    parameters=st.sampled_from([8.03e9, 6.74e9, 3e9, 1.2e9, 13e9]),
    smaller=st.integers(8, 160),
    more=st.integers(0, 100),
    tokens=st.integers(64, 1100),
)
@settings(max_examples=200, deadline=None)
def test_more_memory_never_plans_worse(parameters, smaller, more, tokens):
    small, large = (memory.plan(card, parameters, tokens_per_example=tokens) for card in (smaller, smaller + more))
    assert _time(large, tokens) <= _time(small, tokens)
    if small.inference_quantisation == "none":
        assert large.inference_quantisation == "none"
    if small.inference_quantisation == large.inference_quantisation:
        assert large.token_budget >= small.token_budget


def _time(plan, tokens):
    fits = plan.micro_batch_size * tokens
    return memory._cost(fits, plan.gradient_checkpointing, "nf4")


@given(tokens=st.integers(1, 5000), more=st.integers(1, 5000), rank=st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_bytes_grow_with_tokens_and_shrink_with_checkpointing(tokens, more, rank):
    for shape in SHAPES.values():
        few, many, tight = (
            memory.training_bytes(shape, count, checkpointing=checkpointing, lora_rank=rank)
            for count, checkpointing in ((tokens, False), (tokens + more, False), (tokens + more, True))
        )
        assert few < many
        assert tight < many


def test_what_does_not_fit_gets_the_smallest_plan():
    plan = memory.plan(4, 8.03e9)
    assert (plan.micro_batch_size, plan.gradient_checkpointing) == (1, True)
    assert (plan.inference_quantisation, plan.token_budget) == ("nf4", memory.FEWEST_TOKENS)


def test_a_quantisation_that_is_set_stays():
    assert memory.plan(140, 8.03e9, inference_quantisation="nf4").inference_quantisation == "nf4"
    loose, tight = (memory.plan(40, 8.03e9, quantisation=quantisation) for quantisation in ("nf4", "none"))
    assert _time(loose, 512) < memory._cost(tight.micro_batch_size * 512, tight.gradient_checkpointing, "nf4")


def test_a_cpu_has_its_own_plan_whatever_the_card():
    assert memory.plan(24, 1e6, device="cpu") == memory.plan("auto", 1e6, device="cpu")
    assert memory.plan("auto", 1e6, device="cpu").micro_batch_size == 16
    large = memory.plan("auto", 8e9, device="cpu", tokens_per_example=1024)
    assert 1 <= large.micro_batch_size < 16


def test_shapes_count_the_parameters_that_the_models_have():
    assert LLAMA_3_1_8B.parameters == 8_030_261_248
    assert LLAMA_2_7B.parameters == 6_738_415_616
    assert LLAMA_3_1_8B.cache_bytes == 32 * 8 * 128 * 2 * 2
    assert LLAMA_3_1_8B.lora_parameters(16) == 41_943_040  # as PEFT counts them


def test_a_known_size_has_its_shape_and_an_unknown_one_a_guess_on_the_safe_side():
    assert (of_size(8.03e9), of_size(6.74e9)) == (LLAMA_3_1_8B, LLAMA_2_7B)
    guess = of_size(7.24e9)  # Mistral-7B: 8 heads of keys and values
    assert guess.parameters == pytest.approx(7.24e9, rel=0.2)
    assert guess.cache_bytes >= 4 * 32 * 8 * 128
    assert of_size(1e6).layers >= 1


def test_the_shape_of_a_configuration(tiny_model):
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = of_config(AutoConfig.from_pretrained(tiny_model).to_dict())
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape.tied


def write_config(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


WIDTHS = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}


def test_a_folder_has_the_shape_of_its_configuration_where_that_accounts_for_its_parameters(tmp_path):
    mistral = {"model_type": "mistral", "num_key_value_heads": 8, "vocab_size": 32768, **WIDTHS}
    assert of_folder(write_config(tmp_path / "dense", **mistral), 7.25e9).kv_heads == 8
    experts = {"model_type": "mixtral", "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8, **WIDTHS}
    assert of_folder(write_config(tmp_path / "experts", **experts), 46.7e9) == of_size(46.7e9)
    for name, config in {"renamed": {"model_type": "gpt2"}, "unknown": {"model_type": "no such"}, "bare": {}}.items():
        assert of_folder(write_config(tmp_path / name, **config), 8.03e9) == LLAMA_3_1_8B
    assert of_folder(None, 8.03e9) == of_folder(tmp_path / "none", 8.03e9) == LLAMA_3_1_8B


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_agree_with_what_autograd_keeps(checkpointing):
    """Bytes of one layer as counted by autograd's own hooks, bf16 with adapters under autocast, as on a GPU."""
    one, two = (_kept_by_autograd(layers, checkpointing) for layers in (1, 3))
    shape = _shape(1)
    planned = memory.BYTES_BF16 * shape.hidden if checkpointing else memory._kept_bytes(shape)
    assert (two - one) / 2 / _TOKENS == pytest.approx(planned, rel=0.15)


_TOKENS = 64


def _shape(layers):
    return ModelShape(layers, 64, 192, 4, 2, 16, 128)


def _kept_by_autograd(layers, checkpointing):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = _shape(layers)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
        )
    ).to(torch.bfloat16)
    # Rank 1: an adapter's own narrow activations are left out of the plan.
    adapted = get_peft_model(model, LoraConfig(r=1, lora_dropout=0.5, target_modules="all-linear")).train()
    if checkpointing:
        adapted.enable_input_require_grads()
        model.activation_checkpointing_enable({"use_reentrant": False})
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters and _TOKENS in tensor.shape:
            mask = tensor.dtype == torch.float32 and bool(((tensor == 0) | (tensor == 2)).all())
            size = storage.nbytes() / (4 if mask else 1)  # masks of dropout are fp32 on a CPU, one byte on a GPU
            kept[storage.data_ptr()] = (storage, size)  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        adapted(input_ids=torch.arange(_TOKENS)[None], use_cache=False, logits_to_keep=1)
    return sum(size for _, size in kept.values())
