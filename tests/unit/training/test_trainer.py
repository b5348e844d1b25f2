"""The loss: padding-free or padded, with or without p*, by kind of token, and equal to PEFT's own prompt model."""

import inspect
import math
from itertools import pairwise

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.nn.attention import varlen
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import Gemma2Config, Lfm2Config, Lfm2ForCausalLM, LlamaConfig, TrainingArguments

from formsafe.config.settings.grid import Constraint
from formsafe.core.errors import FormsafeError
from formsafe.models import varlen_attention
from formsafe.models.load import Placement, load_model, load_tokenizer
from formsafe.training import checkpoints
from formsafe.training.collation import Collator
from formsafe.training.examples import Example, tokenise
from formsafe.training.loss_log import SplitLoss, check_finite
from formsafe.training.stages import add_soft_prompt
from formsafe.training.token_kinds import CONTENT, FORMAT, INTERIOR, MIXED
from formsafe.training.trainer import SplitLossTrainer, target_logits
from tests.losses import token_losses
from tests.training_cases import write_rows

VIRTUAL = 6


@pytest.fixture(scope="module")
def data(tiny_model, tmp_path_factory):
    path = write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", 6)
    tokenizer = load_tokenizer(tiny_model)
    return tokenise(path, tokenizer, [tokenizer.eos_token_id], max_length=512, tolerance=0).rows


@pytest.fixture(scope="module")
def prompt():
    return torch.randn(VIRTUAL, 32, generator=torch.Generator().manual_seed(1)) * 0.05


def load(tiny_model, attention):
    return load_model(tiny_model, Placement("cpu", "float32", "none", attention))


def with_lora(tiny_model, attention):
    """LoRA whose B is not zero, so that it has a say; equal weights for every attention."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    return get_peft_model(load(tiny_model, attention), config)


def losses_and_gradients(model, batch, prompt):
    losses = token_losses(model, model.get_input_embeddings(), batch, prompt)
    model.zero_grad()
    losses.sum().backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    return losses.detach(), gradients


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("soft", [False, True], ids=["plain", "soft prompt"])
def test_padding_free_batches_have_the_loss_and_gradients_of_padded_ones(tiny_model, data, prompt, soft):
    virtual, p = (VIRTUAL, prompt) if soft else (0, None)
    flat = losses_and_gradients(with_lora(tiny_model, varlen_attention.NAME), Collator(True, virtual)(data), p)
    padded = losses_and_gradients(with_lora(tiny_model, "sdpa"), Collator(False, virtual)(data), p)
    eager = losses_and_gradients(with_lora(tiny_model, "eager"), Collator(False, virtual)(data), p)
    assert len({len(example.ids) for example in data}) > 1, "equal lengths would not need padding"
    for other in (padded, eager):
        assert relative(flat[0], other[0]) < 1e-5
        assert relative(flat[1], other[1]) < 1e-5


@pytest.mark.parametrize("soft", [False, True], ids=["plain", "soft prompt"])
@pytest.mark.parametrize("flat", [True, False], ids=["flat", "padded"])
def test_examples_of_a_batch_do_not_see_each_other(tiny_model, data, prompt, soft, flat):
    virtual, p = (VIRTUAL, prompt) if soft else (0, None)
    model = with_lora(tiny_model, varlen_attention.NAME if flat else "sdpa")
    collate, embeddings = Collator(flat, virtual), model.get_input_embeddings()
    together = token_losses(model, embeddings, collate(data), p).split([len(example.kinds) for example in data])
    for example, losses in zip(data, together, strict=True):
        alone = token_losses(model, embeddings, collate([example]), p)
        torch.testing.assert_close(losses, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("soft", [False, True], ids=["plain", "soft prompt"])
def test_an_optimiser_step_of_32_is_2_micro_batches_of_16_and_4_of_8(tiny_model, prompt, soft, tmp_path):
    tokenizer = load_tokenizer(tiny_model)
    path = write_rows(tmp_path / "train.jsonl", 32)
    rows = tokenise(path, tokenizer, [tokenizer.eos_token_id], max_length=512, tolerance=0).rows
    virtual, p = (VIRTUAL, prompt) if soft else (0, None)
    outcomes = []
    for size in (32, 16, 8):
        model = with_lora(tiny_model, varlen_attention.NAME)
        losses, gradients = [], []
        for start in range(0, 32, size):
            parts = losses_and_gradients(model, Collator(True, virtual)(rows[start : start + size]), p)
            losses.append(parts[0])
            gradients.append(parts[1])
        outcomes.append((torch.cat(losses), sum(gradients)))
    for other in outcomes[1:]:
        assert relative(other[0], outcomes[0][0]) < 1e-5 and relative(other[1], outcomes[0][1]) < 1e-5


def test_layers_that_mix_tokens_by_other_means_than_attention_get_padded_batches():
    """The convolutions of a hybrid model know no boundaries, whatever its attention does."""
    torch.manual_seed(0)
    config = Lfm2Config(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        layer_types=["conv", "conv"],
    )
    model = Lfm2ForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data *= 3  # or what an example saw of another would be lost in rounding
    model.config._attn_implementation = "flash_attention_2"  # no layer of this model asks for it
    collate, embeddings = Collator(varlen_attention.flattens(model.config)), model.get_input_embeddings()
    # learned from the second token on, for a convolution reaches only a few tokens back
    examples = [Example(torch.randint(3, 100, (tokens,)).tolist(), 1, [0] * (tokens - 1)) for tokens in (12, 9)]
    together = token_losses(model, embeddings, collate(examples), None).split([11, 8])
    for example, losses in zip(examples, together, strict=True):
        torch.testing.assert_close(losses, token_losses(model, embeddings, collate([example]), None))


def test_only_attention_that_keeps_examples_apart_gets_flat_batches():
    for attention, flat in ((varlen_attention.NAME, True), ("flash_attention_2", True), ("sdpa", False)):
        assert varlen_attention.flattens(LlamaConfig(attn_implementation=attention)) == flat
    assert not varlen_attention.flattens(Gemma2Config(attn_implementation="flash_attention_2"))


def test_padded_batches_ask_for_logits_only_where_an_example_learns(tiny_model, data):
    model, batch = with_lora(tiny_model, "sdpa"), Collator(False)(data)
    asked = []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: asked.append(output.shape[1]))
    losses = token_losses(model, model.get_input_embeddings(), batch, None)
    everywhere = model(input_ids=batch["input_ids"], **batch["model"]).logits.flatten(0, 1)[batch["keep"]]
    expected = cross_entropy(everywhere, batch["labels"], reduction="none")
    torch.testing.assert_close(losses, expected)
    first = min(example.prompt_length for example in data) - 1
    assert asked[0] <= max(len(example.ids) for example in data) - 1 - first < asked[1]


@pytest.mark.parametrize("torch_2_11", [False, True])
def test_the_kernel_of_gpus_is_asked_for_the_same_attention(tiny_model, data, prompt, monkeypatch, torch_2_11):
    """Without a GPU: a stand-in with the documented contract of `varlen_attn` takes the kernel's place."""
    real = inspect.signature(varlen.varlen_attn)
    if torch_2_11:  # it takes no `enable_gqa`
        real = real.replace(parameters=[part for name, part in real.parameters.items() if name != "enable_gqa"])
    calls = []

    def stand_in(*args, **kwargs):
        asked = real.bind(*args, **kwargs).arguments
        bounds = asked["cu_seq_q"]
        assert (
            asked["window_size"] == (-1, 0) and bounds.dtype == torch.int32 and torch.equal(bounds, asked["cu_seq_k"])
        )
        assert asked["max_q"] == asked["max_k"] == bounds.diff().max() and bounds[-1] == len(asked["query"])
        calls.append(1)
        rows = []
        for start, end in pairwise(bounds.tolist()):
            q, k, v = (asked[name][start:end].transpose(0, 1) for name in ("query", "key", "value"))
            rows.append(
                scaled_dot_product_attention(
                    q, k, v, is_causal=True, scale=asked["scale"], enable_gqa=torch_2_11 or asked["enable_gqa"]
                )
            )
        return torch.cat(rows, dim=1).transpose(0, 1)

    stand_in.__signature__ = real
    batch = Collator(True, VIRTUAL)(data)
    expected = losses_and_gradients(with_lora(tiny_model, varlen_attention.NAME), batch, prompt)
    monkeypatch.setattr(varlen_attention, "_has_kernel", lambda query: True)
    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    found = losses_and_gradients(with_lora(tiny_model, varlen_attention.NAME), batch, prompt)
    assert calls and relative(found[0], expected[0]) < 1e-6 and relative(found[1], expected[1]) < 1e-5


def test_before_the_first_step_the_loss_and_logits_are_those_of_pefts_prompt_model(tiny_model, data):
    tuned = add_soft_prompt(load(tiny_model, "sdpa"), VIRTUAL, seed=0)
    prompt = tuned.prompt_encoder["default"].embedding.weight.detach().clone()
    batch = Collator(False, 0)(data)
    labels = torch.full_like(batch["input_ids"], -100)
    labels.view(-1)[batch["keep"] + 1] = batch["labels"]
    theirs = tuned(input_ids=batch["input_ids"], labels=labels, **batch["model"])
    assert theirs.logits.shape[1] == VIRTUAL + batch["input_ids"].shape[1]
    placed = Collator(False, VIRTUAL)(data)

    stage2 = get_peft_model(
        load(tiny_model, "sdpa"), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    embedded = stage2.get_input_embeddings()(placed["input_ids"])
    embedded.view(-1, 32)[placed["virtual"]] = prompt.repeat(len(data), 1)
    assert torch.equal(stage2(inputs_embeds=embedded, **placed["model"]).logits, theirs.logits)

    ours = token_losses(stage2, stage2.get_input_embeddings(), placed, prompt).mean()
    torch.testing.assert_close(ours, theirs.loss, rtol=1e-6, atol=0)
    flat = load(tiny_model, varlen_attention.NAME)
    ours = token_losses(flat, flat.get_input_embeddings(), Collator(True, VIRTUAL)(data), prompt).mean()
    torch.testing.assert_close(ours, theirs.loss, rtol=1e-6, atol=0)


def test_gradient_of_the_soft_prompt_is_pefts(tiny_model, data):
    theirs = add_soft_prompt(load(tiny_model, "sdpa"), VIRTUAL, seed=0)
    ours = add_soft_prompt(load(tiny_model, varlen_attention.NAME), VIRTUAL, seed=0)
    batch = Collator(False, 0)(data)
    labels = torch.full_like(batch["input_ids"], -100)
    labels.view(-1)[batch["keep"] + 1] = batch["labels"]
    theirs(input_ids=batch["input_ids"], labels=labels, **batch["model"]).loss.backward()
    weight = ours.prompt_encoder["default"].embedding.weight
    token_losses(
        ours.get_base_model(), ours.get_input_embeddings(), Collator(True, VIRTUAL)(data), weight
    ).mean().backward()
    assert relative(weight.grad, theirs.prompt_encoder["default"].embedding.weight.grad) < 1e-5


def test_gradient_checkpointing_changes_nothing(tiny_model, data, prompt):
    batch = Collator(True, VIRTUAL)(data)
    plain = losses_and_gradients(with_lora(tiny_model, varlen_attention.NAME), batch, prompt)
    model = with_lora(tiny_model, varlen_attention.NAME).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    checkpointed = losses_and_gradients(model, batch, prompt)
    assert torch.equal(plain[0], checkpointed[0]) and torch.equal(plain[1], checkpointed[1])


def test_soft_prompts_start_from_word_embeddings(tiny_model):
    words = load(tiny_model, "sdpa").get_input_embeddings().weight.detach()
    weight, again, other = (
        add_soft_prompt(load(tiny_model, "sdpa"), 32, seed).prompt_encoder["default"].embedding.weight
        for seed in (3, 3, 4)
    )
    assert torch.equal(weight, again) and not torch.equal(weight, other)
    assert weight.dtype == torch.float32 and weight.requires_grad
    assert all((words == row).all(1).any() for row in weight)


def test_an_adapter_is_saved_without_the_models_own_weights(tiny_model, tmp_path):
    config = LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM")
    checkpoints.save_adapter(get_peft_model(load(tiny_model, "sdpa"), config), tmp_path)
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))


def trainer_of(tiny_model, data, folder, validation=None, **more):
    """A trainer of an adapter on padded batches."""
    validation = data if validation is None else validation
    arguments = TrainingArguments(output_dir=str(folder), report_to=[], use_cpu=True, weight_decay=0.1)
    return SplitLossTrainer(with_lora(tiny_model, "sdpa"), arguments, Collator(False), (data, validation), **more)


def test_the_loss_of_a_micro_batch_is_its_share_of_the_whole_steps_mean(tiny_model, data, tmp_path):
    trainer, batch = trainer_of(tiny_model, data, tmp_path), Collator(False)(data)
    losses = token_losses(trainer.model, trainer.model.get_input_embeddings(), batch, None)
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(losses.mean().item())
    shared = trainer.compute_loss(trainer.model, batch, num_items_in_batch=1000)
    assert shared.item() == pytest.approx(losses.sum().item() / 1000)


def test_the_trainer_tells_how_many_targets_a_step_has(tiny_model, data, tmp_path):
    """Else it would divide by the number of micro-batches instead, and each would weigh the same."""
    assert trainer_of(tiny_model, data, tmp_path).model_accepts_loss_kwargs


def test_a_constraint_adds_its_divergence_at_the_first_tokens(tiny_model, data, tmp_path):
    limit = Constraint(weight=0.5, depth=2)
    trainer, batch = trainer_of(tiny_model, data, tmp_path, constraint=limit), Collator(False)(data)
    model = trainer.model
    logits = target_logits(model, model.get_input_embeddings(), batch, None)
    with model.disable_adapter():
        base = target_logits(model, model.get_input_embeddings(), batch, None)
    kl = (base.softmax(-1) * (base.log_softmax(-1) - logits.log_softmax(-1))).sum(-1)
    expected = cross_entropy(logits, batch["labels"], reduction="sum") + 0.5 * kl[batch["depths"] < 2].sum()
    assert (batch["depths"] == 2).any() and kl.min() > 0
    assert trainer.compute_loss(model, batch).item() == pytest.approx((expected / len(logits)).item(), rel=1e-5)


def test_each_log_has_the_tokens_since_the_last_and_validation_its_own_examples(tiny_model, data, tmp_path):
    trainer, batch = trainer_of(tiny_model, data, tmp_path, validation=data[:2]), Collator(False)(data)
    for _ in range(2):
        trainer.compute_loss(trainer.model, batch)
        trainer.log({"loss": 1.0})
    tokens = sum(len(example.ids) for example in data)
    assert [record["tokens"] for record in trainer.state.log_history] == [tokens, tokens]
    losses = token_losses(trainer.model, trainer.model.get_input_embeddings(), Collator(False)(data[:2]), None)
    assert trainer.evaluate()["validation_loss"] == pytest.approx(losses.mean().item(), rel=1e-5)


def test_a_soft_prompt_that_is_trained_too_has_its_own_rate_and_no_decay(tiny_model, data, tmp_path):
    prompt = torch.nn.Parameter(torch.zeros(VIRTUAL, 32))
    trainer = trainer_of(tiny_model, data, tmp_path, soft_prompt=prompt, soft_prompt_rate=0.3)
    *others, own = trainer.create_optimizer().param_groups
    assert (own["lr"], own["weight_decay"]) == (0.3, 0.0) and own["params"][0] is prompt
    assert not any(parameter is prompt for group in others for parameter in group["params"])


def test_the_figures_of_a_training_are_sums_over_all_its_steps(tiny_model, data, tmp_path):
    trainer = trainer_of(tiny_model, data, tmp_path)
    trainer.state.log_history = [
        {"step": 1, "tokens": 100, "seconds": 1.23456, "divergence": 0.5},
        {"step": 1, "validation_seconds": 0.12345},
        {"step": 2, "tokens": 50, "seconds": 2.0, "divergence": 0.25},
        {"step": 3, "tokens": 50, "seconds": 2.0, "divergence": 0.125},
    ]
    found = trainer.figures()
    assert (found["training_seconds"], found["validation_seconds"]) == (5.235, 0.123)
    assert found["tokens_per_second"] == 38.2 and found["divergence_of_first_and_last_step"] == [0.5, 0.125]
    assert [trainer.seconds_until(step) for step in (0, 1, 2, 3)] == pytest.approx([0, 1.35801, 3.35801, 5.35801])


def test_split_loss_is_the_mean_by_kind():
    split = SplitLoss()
    split.add(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([FORMAT, CONTENT, INTERIOR]))
    split.add(torch.tensor([3.0, 8.0]), torch.tensor([FORMAT, MIXED]))
    assert split.drain() == {
        "loss": 4.0,
        **{"format_loss": 2.0, "mixed_loss": 8.0, "content_loss": 4.0, "interior_loss": 6.0},
        **{"format_tokens": 2, "mixed_tokens": 1, "content_tokens": 2, "interior_tokens": 1},
    }
    split.add(torch.tensor([5.0]), torch.tensor([CONTENT]))
    assert split.drain()["format_loss"] is None


def test_a_lost_loss_is_an_error_that_says_what_to_change():
    for loss in (math.nan, math.inf):
        with pytest.raises(FormsafeError, match=r"step 7.*learning rate"):
            check_finite("loss", loss, 7)
