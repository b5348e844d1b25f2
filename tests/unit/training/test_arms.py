"""Controls and mitigations in a training: each mechanism does what it says."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import log_softmax

from formsafe.config.settings.grid import Constraint
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json
from formsafe.models.load import Placement, load_adapter, load_model, load_soft_prompt, load_tokenizer
from formsafe.training.arm import Arm, draw_soft_prompt, untrained_soft_prompt, write_soft_prompt
from formsafe.training.collation import Collator
from formsafe.training.examples import tokenise
from formsafe.training.pace import Pace
from formsafe.training.stages import Inputs, add_soft_prompt, train_adapter
from formsafe.training.trainer import SplitLossTrainer, divergence, target_logits
from tests.tiny import steeper, write_tiny_model
from tests.training_cases import adapter_settings, job, soft_prompt_settings

CPU = Placement("cpu", "float32", "none", "sdpa")


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture
def base(tiny_model):
    return load_model(tiny_model, CPU)


def first_tokens(model, folder, depth, tiny_model):
    """Logits at the first `depth` tokens of each training response, `[rows, vocabulary]`."""
    tokenizer = load_tokenizer(tiny_model)
    rows = tokenise(folder / "train.jsonl", tokenizer, [tokenizer.eos_token_id], max_length=512, tolerance=0).rows
    batch = Collator(False)(rows)
    with torch.no_grad():
        logits = target_logits(model, model.get_input_embeddings(), batch, None)
    return logits[batch["depths"] < depth]


def test_the_divergence_is_the_sum_of_its_definition():
    model, reference = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    p, q = log_softmax(reference, -1), log_softmax(model, -1)
    torch.testing.assert_close(divergence(model, reference), (p.exp() * (p - q)).sum(-1))
    assert not torch.allclose(divergence(model, reference), divergence(reference, model)), "it has a direction"


def test_a_constraint_holds_the_first_tokens_near_the_base_model_and_no_others(tmp_path):
    model = steeper(write_tiny_model(tmp_path / "model"))
    base, found = load_model(model, CPU), {}
    for weight in (0.0, 50.0):
        arm = Arm(constraint=Constraint(weight=weight, depth=3) if weight else None)
        inputs = Inputs(**job(tmp_path / str(weight), model), arm=arm)
        train_adapter(inputs, adapter_settings(), 3e-2)
        adapted = load_adapter(load_model(model, CPU), inputs.folder)
        found[weight] = [
            divergence(
                first_tokens(adapted, tmp_path / str(weight), depth, model),
                first_tokens(base, tmp_path / str(weight), depth, model),
            )
            for depth in (3, 10**6)
        ]
        noted = read_json(inputs.folder / "metrics.json")["divergence_of_first_and_last_step"]
        assert (noted is None) == (weight == 0)
    assert noted[0] == 0.0 < noted[1], "LoRA starts as the base model"
    assert found[50.0][0].mean() < 0.25 * found[0.0][0].mean(), "the first three tokens"
    assert found[50.0][1].sum() > 2 * found[50.0][0].sum(), "the others are free"


def test_a_random_prompt_is_as_long_as_the_tuned_one_in_every_vector_and_differs_by_seed(base, tiny_model, tmp_path):
    tuned = torch.randn(6, 32, generator=torch.Generator().manual_seed(3)) * torch.arange(1, 7)[:, None]
    write_soft_prompt(tuned, str(tiny_model), tmp_path / "tuned")
    for seed in (0, 1):
        draw_soft_prompt(tmp_path / "tuned", tmp_path / str(seed), seed, code="")
    first, second = (load_soft_prompt(tmp_path / str(seed), base) for seed in (0, 1))
    torch.testing.assert_close(first.norm(dim=1), tuned.norm(dim=1))
    cosine = torch.nn.functional.cosine_similarity(first, tuned)
    assert cosine.abs().max() < 0.7 and not torch.equal(first, second)
    draw_soft_prompt(tmp_path / "tuned", tmp_path / "again", 0, code="")
    assert torch.equal(load_soft_prompt(tmp_path / "again", base), first)


def test_an_arm_comes_from_builtins():
    joint = soft_prompt_settings()
    fields = {"constraint": {"weight": 1.0, "depth": 2}, "joint": joint.model_dump(), "steps_of": 9}
    assert Arm(**fields) == Arm(constraint=Constraint(weight=1.0, depth=2), joint=joint, steps_of=9)
    assert Arm(constraint=None, joint=None) == Arm()


def test_a_soft_prompt_is_a_standard_folder_wherever_it_is_written(tmp_path):
    for _ in range(2):  # again over itself
        write_soft_prompt(torch.ones(6, 32), "some/model", tmp_path / "far" / "off")
    config = read_json(tmp_path / "far/off/adapter_config.json")
    assert (config["num_virtual_tokens"], config["token_dim"]) == (6, 32)
    assert (config["base_model_name_or_path"], config["inference_mode"]) == ("some/model", True)


class TestJoint:
    """Soft prompt and adapter trained together."""

    @pytest.fixture
    def inputs(self, tiny_model, tmp_path):
        return Inputs(**job(tmp_path / "joint", tiny_model), arm=Arm(joint=soft_prompt_settings()))

    def test_it_starts_where_stage_1_starts(self, base, tiny_model):
        tuned = add_soft_prompt(load_model(tiny_model, CPU), 6, seed=5)
        start = untrained_soft_prompt(base, 6, seed=5)
        assert torch.equal(start, tuned.prompt_encoder["default"].embedding.weight) and start.requires_grad

    def test_prompt_and_adapter_are_both_trained_each_with_its_own_rate(self, inputs, base, tiny_model, monkeypatch):
        seen = {}
        train = SplitLossTrainer.train

        def watched(self, *args, **kwargs):
            result = train(self, *args, **kwargs)
            seen["rates"] = [group["initial_lr"] for group in self.optimizer.param_groups if group["params"]]
            return result

        monkeypatch.setattr(SplitLossTrainer, "train", watched)
        train_adapter(inputs, adapter_settings(), 1e-2)
        assert sorted(set(seen["rates"])) == [1e-2, 0.1]
        prompt = load_soft_prompt(inputs.folder / "soft_prompt", base)
        moved = (prompt - untrained_soft_prompt(base, 6, inputs.seed)).abs().max()
        assert moved > 0.05 and all(w.abs().max() > 0 for name, w in weights(inputs.folder).items() if "lora_B" in name)
        assert not any("prompt" in name for name in weights(inputs.folder)), "the adapter stands on its own"
        metrics = read_json(inputs.folder / "metrics.json")
        alone = dataclasses.replace(inputs, arm=Arm(), folder=inputs.folder.with_name("alone"))
        train_adapter(alone, adapter_settings(), 1e-2)
        without = read_json(alone.folder / "metrics.json")
        assert metrics["trainable_parameters"] == without["trainable_parameters"] + 6 * 32
        assert metrics["virtual_tokens"] == 6 and without["virtual_tokens"] == 0

    def test_stopped_and_continued_it_ends_with_the_same_bytes(self, inputs, monkeypatch):
        train_adapter(inputs, adapter_settings(), 1e-2)
        halves = dataclasses.replace(inputs, folder=inputs.folder.with_name("halves"))
        step_end = Pace.on_step_end

        def stop_at_3(self, args, state, control, **kwargs):
            step_end(self, args, state, control, **kwargs)
            if state.global_step == 3:
                control.should_save = control.should_training_stop = True

        with monkeypatch.context() as patch:
            patch.setattr(Pace, "on_step_end", stop_at_3)
            with pytest.raises(FormsafeError, match="stopped at step 3"):
                train_adapter(halves, adapter_settings(), 1e-2)
        train_adapter(halves, adapter_settings(), 1e-2)
        assert read_json(halves.folder / "metrics.json")["continued_from_step"] == 3
        for name in ("adapter_model.safetensors", "soft_prompt/adapter_model.safetensors", "loss.csv"):
            ours, theirs = (folder / name for folder in (inputs.folder, halves.folder))
            assert name == "loss.csv" or ours.read_bytes() == theirs.read_bytes(), name


@pytest.mark.parametrize(("steps_of", "steps"), [(None, 2), (24, 6)], ids=["same epochs", "same steps"])
def test_fewer_examples_take_as_many_epochs_or_as_many_steps(tiny_model, tmp_path, steps_of, steps):
    inputs = Inputs(**job(tmp_path, tiny_model, rows=8), arm=Arm(steps_of=steps_of))
    train_adapter(inputs, adapter_settings(), 1e-2)
    assert read_json(inputs.folder / "metrics.json")["steps"] == steps
    whole = Inputs(**{**job(tmp_path / "whole", tiny_model, rows=24)})
    train_adapter(whole, adapter_settings(), 1e-2)
    assert read_json(whole.folder / "metrics.json")["steps"] == 6


def test_an_arm_is_a_part_of_the_jobs_identity(tiny_model, tmp_path):
    from formsafe.training.stages import _identity

    plain = Inputs(**job(tmp_path, tiny_model, rows=4))
    arms = [Arm(), Arm(steps_of=9), Arm(constraint=Constraint(weight=1.0, depth=2)), Arm(joint=soft_prompt_settings())]
    found = [_identity(dataclasses.replace(plain, arm=arm), adapter_settings(), 1e-2, CPU, None) for arm in arms]
    assert all(found[0] != other for other in found[1:])
