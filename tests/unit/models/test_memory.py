"""Memory plans fit their card, grow with it, and their bytes agree with what PyTorch really keeps."""

import json
import random
from dataclasses import replace
from statistics import fmean, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig

from formsafe.config.settings.models import ModelSettings
from formsafe.models import memory
from formsafe.models.context import ModelContext, read_context
from formsafe.models.shapes import LLAMA_2_7B, LLAMA_3_1_8B, ModelShape, of_config, of_size

SHAPES = {"8b": LLAMA_3_1_8B, "7b": LLAMA_2_7B}
CARDS = (24, 40, 80, 140)


def context(shape, memory_gb, device="cuda", **changes):
    settings = ModelSettings(path="m", label="m", parameters=shape.parameters, **changes)
    return ModelContext(settings, None, shape, device, memory_gb)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("longest", [160, 320, 1056])
@pytest.mark.parametrize("rank", [0, 8, 16, 256])
def test_the_plan_fits_its_card_by_its_own_estimate(shape, card, longest, rank):
    own = context(shape, card)
    training = memory.plan_training(own, memory.TrainingBatch(16, 2, longest, rank))
    tokens = training.micro_batch_size * longest
    assert memory.training_bytes(own, tokens, training.gradient_checkpointing, rank) <= card * 1e9
    inference = memory.plan_inference(own, rank)
    assert memory.inference_bytes(own, inference, rank) <= card * 1e9
    assert 32 % training.micro_batch_size == 0
    assert inference.token_budget >= 2 * (1100 + 512), "at least two judgements at once"


def test_all_stages_of_8b_fit_into_24_gb_with_the_papers_batch():
    own = context(LLAMA_3_1_8B, 24)
    assert memory.plan_training(own, memory.TrainingBatch(16, 2, 320, 16)).micro_batch_size >= 2
    assert memory.plan_inference(own, 16).token_budget >= 16384


def test_a_higher_rank_takes_memory_from_the_rest():
    own = context(LLAMA_3_1_8B, 24)
    few, many = (memory.training_bytes(own, 320, False, rank) for rank in (16, 64))
    assert many - few == pytest.approx(memory.BYTES_TRAINED * 48 * LLAMA_3_1_8B.lora_parameters(1))
    assert memory.plan_inference(own, 256).token_budget < memory.plan_inference(own, 16).token_budget
    assert memory.plan_inference(own, 256).quantisation == memory.plan_inference(own, 0).quantisation


@given(
    parameters=st.sampled_from([8.03e9, 6.74e9, 3e9, 1.2e9, 13e9]),
    smaller=st.integers(8, 160),
    more=st.integers(0, 100),
    longest=st.integers(64, 1100),
)
@settings(max_examples=200, deadline=None)
def test_more_memory_never_plans_worse(parameters, smaller, more, longest):
    shape, batch = of_size(parameters), memory.TrainingBatch(16, 2, longest, 16)
    contexts = [context(shape, card) for card in (smaller, smaller + more)]
    slow, fast = (_time(memory.plan_training(own, batch), longest) for own in contexts)
    assert fast <= slow
    small, large = (memory.plan_inference(own, 16) for own in contexts)
    if small.quantisation == "none":
        assert large.quantisation == "none"
    if small.quantisation == large.quantisation:
        assert large.token_budget >= small.token_budget


def _time(plan, longest):
    return memory._cost(plan.micro_batch_size * longest, plan.gradient_checkpointing, "nf4")


@given(tokens=st.integers(1, 5000), more=st.integers(1, 5000), rank=st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_bytes_grow_with_tokens_and_shrink_with_checkpointing(tokens, more, rank):
    for shape in SHAPES.values():
        few, many, tight = (
            memory.training_bytes(context(shape, 80), count, checkpointing, rank)
            for count, checkpointing in ((tokens, False), (tokens + more, False), (tokens + more, True))
        )
        assert few < many
        assert tight < many


def test_what_does_not_fit_gets_the_smallest_plan():
    own = context(LLAMA_3_1_8B, 4)
    assert memory.plan_training(own, memory.TrainingBatch()) == memory.TrainingPlan(1, True)
    assert memory.plan_inference(own, 0) == memory.InferencePlan("nf4", memory.FEWEST_TOKENS)


def test_a_quantisation_that_is_set_stays():
    assert memory.plan_inference(context(LLAMA_3_1_8B, 140, inference_quantisation="nf4"), 0).quantisation == "nf4"
    loose, tight = (
        _time(memory.plan_training(context(LLAMA_3_1_8B, 40, quantisation=chosen), memory.TrainingBatch()), 512)
        for chosen in ("nf4", "none")
    )
    assert loose < tight


def test_the_micro_batch_is_the_whole_optimiser_step_where_it_fits():
    large, small = context(LLAMA_3_1_8B, 140), context(LLAMA_3_1_8B, 24)
    batch = memory.TrainingBatch(16, 2, 320, 16)
    assert memory.plan_training(large, batch) == memory.TrainingPlan(32, False)
    assert memory.plan_training(small, batch).micro_batch_size < 16
    assert memory.plan_training(large, memory.TrainingBatch(16, 1, 320, 16)).micro_batch_size == 16


def test_batches_without_padding_are_planned_for_the_sum_of_their_examples():
    """The paper's lengths: at 80 GB the whole optimiser step fits, where padded to the longest half of it does."""
    own, padded = context(LLAMA_3_1_8B, 80), memory.TrainingBatch(16, 2, 300, 16)
    flat = replace(padded, mean=160.0, deviation=25.0)
    assert memory.plan_training(own, flat) == memory.TrainingPlan(32, False)
    assert memory.plan_training(own, padded) == memory.TrainingPlan(16, False)
    cpu = context(LLAMA_3_1_8B, 0.0, "cpu")
    assert memory.plan_training(cpu, flat) == memory.plan_training(cpu, padded)
    assert [padded.tokens(examples) for examples in (1, 2, 32)] == [300, 600, 9600]


@pytest.mark.parametrize("outlier", [200, 512])
def test_no_batch_in_thousands_has_more_tokens_than_planned(outlier):
    """Also where a few examples are three times as long as the others: the longest may be in any batch."""
    draw = random.Random(0)
    lengths = [round(draw.gauss(160, 25)) for _ in range(1425)] + [outlier] * 5
    longest = max(lengths)
    batch = memory.TrainingBatch(longest=longest, mean=fmean(lengths), deviation=pstdev(lengths))
    assert batch.tokens(1) == longest
    for examples in (2, 4, 8, 16, 32):
        most = max(sum(draw.sample(lengths, examples)) for _ in range(3000))
        assert most <= batch.tokens(examples) <= examples * longest


@pytest.mark.parametrize("card", CARDS)
def test_static_buffers_take_the_keys_and_values_of_the_budget_and_pieces_of_prompts(card):
    """Also at 24 GB the weights stay in 16 bits, and an answer costs its own keys and values only."""
    static = replace(context(LLAMA_3_1_8B, card), config=LlamaConfig())
    assert static.decodes_statically and not context(LLAMA_3_1_8B, card).decodes_statically
    assert not replace(static, device="cpu").decodes_statically
    plan = memory.plan_inference(static, 16)
    assert plan.quantisation == "none" and memory.inference_bytes(static, plan, 16) <= card * 1e9
    less = memory.inference_bytes(static, replace(plan, token_budget=plan.token_budget - 1), 16)
    assert memory.inference_bytes(static, plan, 16) - less == LLAMA_3_1_8B.cache_bytes
    if card > 24:  # there the pieces that prompts are read in cost as much as they save
        assert plan.token_budget > memory.plan_inference(context(LLAMA_3_1_8B, card), 16).token_budget


def test_many_short_answers_leave_room_for_their_logits():
    """8 new tokens each after 60: 8B's logits of all rows take some GB, and sampling from them more than the cache."""
    static = replace(context(LLAMA_3_1_8B, 140), config=LlamaConfig())
    budget, vocabulary = memory.plan_inference(static, 16).token_budget, LLAMA_3_1_8B.vocabulary
    for sampled, per_entry in ((False, 3 * 2), (True, 45)):
        rows = budget // memory.static_tokens(LLAMA_3_1_8B, 60 + 8, sampled)
        taken = rows * (128 * LLAMA_3_1_8B.cache_bytes + per_entry * vocabulary)
        assert 0.95 * budget < taken / LLAMA_3_1_8B.cache_bytes <= budget


def test_rotary_positions_that_change_with_the_text_are_decoded_by_the_loop():
    """They compare the longest position with a bound in Python, which no CUDA graph can repeat."""
    for kind, static in {"default": True, "dynamic": False}.items():
        config = LlamaConfig(rope_parameters={"rope_type": kind, "rope_theta": 1e4, "factor": 2.0})
        assert replace(context(LLAMA_3_1_8B, 80), config=config).decodes_statically == static


def test_a_cpu_has_its_own_plan():
    small, large = (context(of_size(size), 0.0, "cpu") for size in (1e6, 8.03e9))
    batch = memory.TrainingBatch(16, 2, 1024, 16)
    assert memory.plan_training(small, batch) == memory.TrainingPlan(16, False)
    assert memory.plan_training(large, batch) == memory.TrainingPlan(4, False)
    assert memory.plan_inference(small, 16) == memory.InferencePlan("none", memory.CPU_TOKENS_SMALL)
    assert memory.plan_inference(large, 16) == memory.InferencePlan("none", memory.CPU_TOKENS_LARGE)


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


def shape_in(folder, parameters):
    own = ModelSettings(path="m", label="m", parameters=parameters)
    return read_context(folder, own, 80, "cuda").shape


def test_a_folder_has_the_shape_of_its_configuration_where_that_accounts_for_its_parameters(tmp_path):
    mistral = {"model_type": "mistral", "num_key_value_heads": 8, "vocab_size": 32768, **WIDTHS}
    assert shape_in(write_config(tmp_path / "dense", **mistral), 7.25e9).kv_heads == 8
    experts = {"model_type": "mixtral", "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8, **WIDTHS}
    assert shape_in(write_config(tmp_path / "experts", **experts), 46.7e9) == of_size(46.7e9)
    for name, config in {"renamed": {"model_type": "gpt2"}, "unknown": {"model_type": "no such"}, "bare": {}}.items():
        assert shape_in(write_config(tmp_path / name, **config), 8.03e9) == LLAMA_3_1_8B
    assert shape_in(None, 8.03e9) == shape_in(tmp_path / "none", 8.03e9) == LLAMA_3_1_8B


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
