"""Memory plans that keep what the user has set, and the Trainer's arguments on a CPU and on a GPU."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from formsafe.core.errors import FormsafeError
from formsafe.models.memory import TrainingBatch, TrainingPlan
from formsafe.training import plan as plans
from formsafe.training.arm import Arm
from formsafe.training.stages import Inputs
from tests.training_cases import adapter_settings, job, soft_prompt_settings

CONTEXT: Any = object()


@pytest.fixture
def planned(monkeypatch):
    """The batches that were planned for; the card is said to hold micro-batches of 4 with checkpointing."""
    asked: list[TrainingBatch] = []

    def plan_training(context, batch):
        assert context is CONTEXT
        asked.append(batch)
        return TrainingPlan(4, True)

    monkeypatch.setattr(plans, "plan_training", plan_training)
    return asked


@pytest.fixture
def inputs(tiny_model, tmp_path):
    def made(**changes) -> Inputs:
        return Inputs(**job(tmp_path, tiny_model, rows=2, **changes))

    return made


def test_a_plan_is_of_the_whole_step_and_of_the_longest_example(planned, inputs):
    lengths = [10, 20, 60]
    assert plans.memory_plan(inputs(), adapter_settings(), CONTEXT, lengths, False, None) == TrainingPlan(4, True)
    plans.memory_plan(inputs(), soft_prompt_settings(), CONTEXT, lengths, True, None)
    assert planned == [
        TrainingBatch(4, 2, 60, lora_rank=4),
        TrainingBatch(4, 2, 60, lora_rank=0, mean=30.0, deviation=math.sqrt((400 + 100 + 900) / 3)),
    ]


@pytest.mark.parametrize("checkpointing", ["auto", True, False])
def test_what_the_user_has_set_goes_first(planned, inputs, checkpointing):
    given = inputs(micro_batch_size=2, gradient_checkpointing=checkpointing)
    found = plans.memory_plan(given, adapter_settings(), CONTEXT, [9], False, None)
    assert found == TrainingPlan(2, checkpointing is not False)


@pytest.mark.parametrize(("micro", "step"), [(3, 8), (16, 8)])
def test_a_micro_batch_divides_the_step(planned, inputs, micro, step):
    words = rf"micro_batch_size {micro} does not divide the {step} examples of an optimiser step"
    with pytest.raises(FormsafeError, match=words):
        plans.memory_plan(inputs(micro_batch_size=micro), adapter_settings(), CONTEXT, [9], False, None)


@pytest.mark.parametrize(
    ("before", "micro"),
    [
        (2, 2),  # a smaller card's
        (1, 1),
        (4, 4),
        (8, 4),  # this card cannot hold as many
        (3, 4),  # the step was another
        (None, 4),
    ],
)
def test_a_training_that_continues_keeps_its_micro_batch_where_it_fits(planned, inputs, tmp_path, before, micro):
    (tmp_path / "trainer_state.json").write_text(
        json.dumps({"train_batch_size": before, "log_history": [{"step": 1, "grad_norm": math.nan}]})
    )
    assert plans.memory_plan(inputs(), adapter_settings(), CONTEXT, [9], False, tmp_path).micro_batch_size == micro
    asked = inputs(micro_batch_size=8)  # an explicit one is the user's
    assert plans.memory_plan(asked, adapter_settings(), CONTEXT, [9], False, tmp_path).micro_batch_size == 8


@pytest.fixture
def arguments(monkeypatch, inputs):
    """The Trainer's arguments for a model of a device and a number format, on a machine with eight GPUs."""
    monkeypatch.setattr(plans, "TrainingArguments", lambda **given: SimpleNamespace(n_gpu=8, **given))

    def made(device="cuda", dtype=torch.bfloat16, settings=None, resume=None, **changes):
        model: Any = SimpleNamespace(device=torch.device(device), dtype=dtype)
        given = inputs()
        given = Inputs(**vars(given) | changes)
        chosen = settings or adapter_settings()
        return plans.training_arguments(given, chosen, 1e-3, TrainingPlan(2, True), model, Path("s"), resume)

    return made


@pytest.mark.parametrize(
    ("device", "dtype", "mixed"),
    [
        ("cuda", torch.bfloat16, (True, False)),
        ("cuda", torch.float16, (False, True)),
        ("cuda", torch.float32, (False, False)),
        ("cpu", torch.bfloat16, (False, False)),
        ("cpu", torch.float16, (False, False)),
    ],
)
def test_precision_follows_the_model_on_a_gpu_and_is_the_models_on_a_cpu(arguments, device, dtype, mixed):
    made = arguments(device, dtype)
    assert (made.bf16, made.fp16) == mixed
    assert (made.use_cpu, made.dataloader_pin_memory) == ((False, True) if device == "cuda" else (True, False))
    assert made._n_gpu == 1


def test_a_step_has_all_its_examples_and_the_trainer_keeps_out_of_what_is_ours(arguments):
    settings = adapter_settings(weight_decay=0.25, max_grad_norm=0.5, optimiser="adamw_torch")
    made = vars(arguments(settings=settings, seed=7))
    expected = {
        **{"output_dir": "s", "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2},
        **{"gradient_accumulation_steps": 4, "num_train_epochs": 2.0, "max_steps": -1, "learning_rate": 1e-3},
        **{"lr_scheduler_type": "cosine", "warmup_steps": 1, "optim": "adamw_torch", "weight_decay": 0.25},
        **{"max_grad_norm": 0.5, "activation_checkpointing": True, "seed": 7, "data_seed": 7, "eval_on_start": True},
        # The other variant computes no gradient where embeddings of the input need none.
        **{"activation_checkpointing_kwargs": {"use_reentrant": False}},
        **{"remove_unused_columns": False, "eval_strategy": "no", "save_strategy": "no", "disable_tqdm": True},
        **{"logging_steps": 1, "logging_nan_inf_filter": False, "report_to": "none"},
    }
    assert {name: made[name] for name in expected} == expected


def test_a_training_that_continues_has_been_evaluated_at_its_start(arguments):
    assert arguments(resume=Path("checkpoint-3")).eval_on_start is False


def test_more_examples_for_other_purposes_are_no_more_steps(arguments):
    """A method with mixed-in rows takes the steps of its own 20 examples: twice three, of eight examples or fewer."""
    assert arguments(arm=Arm(steps_of=20)).max_steps == 6
