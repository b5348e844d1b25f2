"""Whole trainings of a tiny model: what is trained, what is written, what a bad input says."""

import csv
import dataclasses
import json
import shutil
from typing import get_args

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from formsafe.config.settings.training import LoraSettings, Optimiser
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, read_jsonl
from formsafe.models.chat import render_prompt
from formsafe.models.context import ModelContext, read_context
from formsafe.models.load import Placement, load_adapter, load_model, load_soft_prompt, load_tokenizer, place
from formsafe.models.shapes import LLAMA_3_1_8B
from formsafe.training import stages as training
from formsafe.training.drift import POSITIONS
from formsafe.training.plan import memory_plan
from formsafe.training.stages import Inputs, add_adapter, train_adapter, tune_soft_prompt
from formsafe.training.trainer import SplitLossTrainer
from tests.training_cases import adapter_settings, job, soft_prompt_settings, write_rows

FILES = {"adapter_config.json", "adapter_model.safetensors", "loss.csv", "validation.csv", "metrics.json"}
CPU = Placement("cpu", "float32", "none", "sdpa")


def table(path):
    with open(path, newline="") as lines:
        return [{key: float(value) if value else None for key, value in row.items()} for row in csv.DictReader(lines)]


@pytest.mark.parametrize("name", get_args(Optimiser))
def test_transformers_has_every_optimiser_that_can_be_named(name, tmp_path):
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(output_dir=str(tmp_path), optim=name, use_cpu=True)
    assert Trainer.get_optimizer_cls_and_kwargs(arguments)


@pytest.fixture(scope="module")
def stages(tiny_model, tmp_path_factory):
    """Folders of a soft prompt and of an adapter trained with it; and what Trainer saw of the adapter."""
    root = tmp_path_factory.mktemp("stages")
    first = Inputs(**job(root / "one", tiny_model))
    tune_soft_prompt(first, soft_prompt_settings())
    before = (first.folder / "adapter_model.safetensors").read_bytes()
    seen = {}
    train = SplitLossTrainer.train

    def watched(self, *args, **kwargs):
        seen["trainable"] = {name for name, p in self._peft.named_parameters() if p.requires_grad}
        seen["start"] = self.soft_prompt().clone()
        result = train(self, *args, **kwargs)
        seen["end"], seen["model"] = self.soft_prompt().clone(), self._peft
        return result

    second = Inputs(**job(root / "two", tiny_model))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SplitLossTrainer, "train", watched)
        train_adapter(second, adapter_settings(), 1e-2, first.folder)
    assert (first.folder / "adapter_model.safetensors").read_bytes() == before
    return first.folder, second.folder, seen


def test_both_stages_write_the_same_five_files_and_remove_their_scratch(stages):
    for folder in stages[:2]:
        assert {path.name for path in folder.iterdir()} == FILES


def test_stage_2_trains_the_adapter_and_nothing_else(stages):
    _, folder, seen = stages
    assert seen["trainable"] and all(".lora_A." in name or ".lora_B." in name for name in seen["trainable"])
    assert len(seen["trainable"]) == 2 * 7 * 2  # A and B, seven linear layers, two layers
    assert torch.equal(seen["start"], seen["end"]), "p* is unchanged to the bit"
    weights = load_file(folder / "adapter_model.safetensors")
    assert all(weights[name].abs().max() > 0 for name in weights if "lora_B" in name)


def test_stage_1_trains_the_soft_prompt_on_a_frozen_model(stages, tiny_model):
    folder = stages[0]
    assert read_json(folder / "metrics.json")["trainable_parameters"] == 6 * 32
    tuned = PeftModel.from_pretrained(load_model(tiny_model, CPU), str(folder))  # standard PEFT, on the plain base
    prompt = load_soft_prompt(folder, load_model(tiny_model, CPU))
    assert torch.equal(tuned.get_prompt(1)[0], prompt)
    rows = table(folder / "loss.csv")
    assert len(rows) == 3 and rows[-1]["loss"] < rows[0]["loss"]


def test_the_adapter_gives_the_same_logits_on_the_plain_base_with_standard_peft(stages, tiny_model):
    _, folder, seen = stages
    ids = torch.arange(30)[None]
    trained = seen["model"].eval()(input_ids=ids).logits
    base = load_model(tiny_model, Placement("cpu", "float32", "none", "formsafe_varlen"))
    assert torch.equal(PeftModel.from_pretrained(base, str(folder)).eval()(input_ids=ids).logits, trained)
    adapted = load_adapter(load_model(tiny_model, CPU), folder)
    torch.testing.assert_close(adapted(input_ids=ids).logits, trained, rtol=1e-4, atol=1e-5)


def test_saved_configs_are_plain_and_in_a_fixed_order(stages, tiny_model):
    config = read_json(stages[1] / "adapter_config.json")
    assert config["base_model_name_or_path"] == str(tiny_model)
    assert config["target_modules"] == sorted(config["target_modules"]) and len(config["target_modules"]) == 14


def test_loss_tables_and_metrics(stages):
    for folder, steps, validated in ((stages[0], 3, [0, 2, 3]), (stages[1], 6, [0, 3, 6])):
        rows, metrics = table(folder / "loss.csv"), read_json(folder / "metrics.json")
        assert [row["step"] for row in rows] == [*range(1, steps + 1)] and metrics["steps"] == steps
        assert [row["step"] for row in table(folder / "validation.csv")] == validated
        for row in rows:
            parts = [(row[f"{part}_tokens"], row[f"{part}_loss"]) for part in ("format", "mixed", "content")]
            tokens = sum(count for count, _ in parts)
            assert row["loss"] == pytest.approx(sum(count * loss for count, loss in parts if count) / tokens)
            assert 0 < row["interior_tokens"] < row["content_tokens"] and row["grad_norm"] > 0
        epochs = sum(row[f"{part}_tokens"] for row in rows for part in ("format", "mixed", "content"))
        epochs /= metrics["target_tokens"]
        assert epochs == pytest.approx(steps / 3)
        assert metrics["padding_free"] and metrics["seed"] == 0 and metrics["tokens_per_second"] > 0


def test_kl_to_the_base_model_by_position(stages, tiny_model):
    """Recomputed for each position from the saved adapter, one example at a time; a soft prompt changes no model."""
    assert read_json(stages[0] / "metrics.json")["kl_to_base"] is None
    found = read_json(stages[1] / "metrics.json")["kl_to_base"]
    assert len(found) == POSITIONS and min(found) > 0
    base, tuned = load_model(tiny_model, CPU), load_adapter(load_model(tiny_model, CPU), stages[1])
    tokenizer = load_tokenizer(tiny_model)
    at_first = []
    for row in read_jsonl(stages[1].parent / "validation.jsonl"):
        ids = torch.tensor([render_prompt(tokenizer, row["messages"][0]["content"])])
        p, q = (model(input_ids=ids).logits[0, -1].double().log_softmax(-1) for model in (base, tuned))
        at_first.append((p.exp() * (p - q)).sum().item())
    assert found[0] == pytest.approx(sum(at_first) / len(at_first), rel=1e-3)


def test_half_an_epoch_is_as_many_steps_as_table_3_says(tiny_model, tmp_path):
    """1,425 examples in batches of 16 x 2: 45 steps an epoch, 90 in two; here in the small."""
    inputs = Inputs(**job(tmp_path, tiny_model, rows=20))
    tune_soft_prompt(inputs, soft_prompt_settings(epochs=0.5))
    assert read_json(inputs.folder / "metrics.json")["steps"] == 2  # half of ceil(20 / 8), rounded up


def test_memory_is_planned_for_the_longest_example_with_its_soft_prompt(tiny_model, tmp_path, monkeypatch):
    planned, plan = [], training.memory_plan
    monkeypatch.setattr(training, "memory_plan", lambda *each: planned.append(each[3:5]) or plan(*each))
    own = Inputs(**job(tmp_path, tiny_model, rows=4))
    train_adapter(own, adapter_settings(epochs=0.1), 1e-2)
    tune_soft_prompt(
        dataclasses.replace(own, folder=tmp_path / "p"), soft_prompt_settings(epochs=0.1, virtual_tokens=6)
    )
    (adapter, flat), (prompt, _) = planned
    assert flat and len(adapter) == 4 and prompt == [length + 6 for length in adapter]


def test_a_training_of_one_start_counts_no_seconds_of_an_earlier_one(tiny_model, tmp_path, monkeypatch):
    told, record = [], training.stage_record
    monkeypatch.setattr(training, "stage_record", lambda *each: told.append(each[3]) or record(*each))
    train_adapter(Inputs(**job(tmp_path, tiny_model, rows=4)), adapter_settings(epochs=0.1), 1e-2)
    assert told == [0.0]


def test_only_on_a_cpu_dropout_is_sparse(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    kinds = []
    for device in ("cpu", "meta"):
        adapted = add_adapter(model.to(device), LoraSettings(r=2, alpha=2, dropout=0.1), 0)
        kinds.append({type(layer).__name__ for layer in adapted.modules() if "ropout" in type(layer).__name__})
    assert kinds == [{"SparseDropout"}, {"Dropout"}]


class TestBadInput:
    @pytest.fixture
    def own(self, tiny_model, tmp_path):
        return job(tmp_path, tiny_model, rows=4)

    def test_a_response_longer_than_the_context(self, own, tiny_model, tmp_path):
        small = shutil.copytree(tiny_model, tmp_path / "small")
        config = json.loads((small / "config.json").read_text())
        (small / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 60}))
        own["manifest"].write_text(json.dumps({"path": str(small)}))
        with pytest.raises(FormsafeError, match=r"longer than 60 tokens.*max_length"):
            train_adapter(Inputs(**own), adapter_settings(), 1e-2)

    def test_a_soft_prompt_takes_its_part_of_the_context(self, own, tiny_model, tmp_path):
        small = shutil.copytree(tiny_model, tmp_path / "small")
        config = json.loads((small / "config.json").read_text())
        (small / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 60}))
        own["manifest"].write_text(json.dumps({"path": str(small)}))
        with pytest.raises(FormsafeError, match=r"longer than 54 tokens.*max_length"):
            tune_soft_prompt(Inputs(**own), soft_prompt_settings(virtual_tokens=6))

    def test_micro_batches_that_do_not_divide_the_batch(self, own):
        own["training"] = own["training"].model_copy(update={"micro_batch_size": 3})
        with pytest.raises(FormsafeError, match="size 3 does not divide the 8 examples of an optimiser step"):
            train_adapter(Inputs(**own), adapter_settings(), 1e-2)

    def test_weights_lost_in_the_last_step(self, own, monkeypatch):
        train = SplitLossTrainer.train

        def lost(self, *args, **kwargs):
            train(self, *args, **kwargs)
            self.trained()[0].data[0, 0] = torch.nan

        monkeypatch.setattr(SplitLossTrainer, "train", lost)
        with pytest.raises(FormsafeError, match=r"sum of the weights became nan at step 2.*learning rate"):
            train_adapter(Inputs(**own), adapter_settings(), 1e-2)
        assert not (own["folder"] / "metrics.json").exists()

    def test_other_failures_are_not_taken_for_a_lack_of_memory(self, own, monkeypatch):
        monkeypatch.setattr(
            SplitLossTrainer, "compute_loss", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("shape"))
        )
        with pytest.raises(RuntimeError, match="shape"):
            train_adapter(Inputs(**own), adapter_settings(), 1e-2)


def test_a_changed_job_does_not_continue_the_old_one(tiny_model, tmp_path, monkeypatch):
    own = Inputs(**job(tmp_path, tiny_model, rows=4))

    def identity_of(inputs, rate=1e-2, prompt=None):
        context = read_context(tiny_model, inputs.model, "auto")
        return training._identity(inputs, adapter_settings(), rate, place(context, "training"), prompt)

    identity = identity_of(own)
    changes = [
        dataclasses.replace(own, seed=1),
        dataclasses.replace(own, code="other"),
        dataclasses.replace(own, system_prompt="Be brief."),
        dataclasses.replace(own, train=write_rows(tmp_path / "other.jsonl", 5)),
    ]
    assert all(identity_of(changed) != identity for changed in changes)
    assert identity_of(own, 2e-2) != identity
    elsewhere = dataclasses.replace(own, model=own.model.model_copy(update={"device": "auto"}))
    identity = identity_of(elsewhere)
    other = not torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: other)
    monkeypatch.setattr("formsafe.models.context.gpu_memory_in_gb", lambda: 24.0)
    assert identity_of(elsewhere) != identity, "auto means another device here"
    assert identity_of(own, prompt=torch.zeros(2, 2)) != identity


def test_a_training_that_continues_keeps_its_micro_batch_where_that_fits(tiny_model, tmp_path):
    """Another card would plan another; what was set by hand comes first."""
    own = Inputs(**job(tmp_path, tiny_model, rows=4))
    small, large = (ModelContext(own.model, None, LLAMA_3_1_8B, "cuda", memory_gb) for memory_gb in (24, 140))
    settings = adapter_settings(batch_size=16)
    planned = {card: memory_plan(own, settings, card, [320], False, None).micro_batch_size for card in (small, large)}
    assert planned[small] < planned[large] == 32
    for started, card, expected in ((small, large, small), (large, small, small), (large, large, large)):
        state = {"train_batch_size": planned[started]}
        (tmp_path / "trainer_state.json").write_text(json.dumps(state))
        assert memory_plan(own, settings, card, [320], False, tmp_path).micro_batch_size == planned[expected]
    by_hand = dataclasses.replace(own, training=own.training.model_copy(update={"micro_batch_size": 2}))
    assert memory_plan(by_hand, settings, large, [320], False, tmp_path).micro_batch_size == 2


def test_a_plan_from_the_lengths_of_the_data_is_the_same_at_every_start(tiny_model, tmp_path):
    own = Inputs(**job(tmp_path, tiny_model, rows=4))
    card = ModelContext(own.model, None, LLAMA_3_1_8B, "cuda", 90)
    lengths, settings = [*range(120, 200), 300], adapter_settings(batch_size=16)
    plans = [memory_plan(own, settings, card, each, True, None) for each in (lengths, lengths[::-1])]
    assert plans[0] == plans[1] and plans[0].micro_batch_size == 32
    assert memory_plan(own, settings, card, lengths, False, None).micro_batch_size == 16, "padded to the longest"
