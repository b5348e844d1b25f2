"""How a training is laid out: what it takes, what fits into memory, and what the Trainer is told."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel, TrainingArguments

from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.training import AdapterSettings, Optimisation, TrainingSettings
from formsafe.core.errors import FormsafeError
from formsafe.models import memory, shapes
from formsafe.training.arm import Arm


@dataclass(frozen=True)
class Inputs:
    """What both stages take: the model's manifest, its settings, the data, and where the results go."""

    manifest: str | Path
    model: ModelSettings
    train: str | Path
    validation: str | Path
    folder: str | Path
    training: TrainingSettings
    seed: int
    system_prompt: str | None = None
    gpu_memory_gb: int | Literal["auto"] = "auto"
    code: str = ""
    arm: Arm = field(default_factory=Arm)


def memory_plan(inputs: Inputs, settings: Optimisation, model: PreTrainedModel, longest: int) -> memory.MemoryPlan:
    """The memory plan, with what the user has set himself."""
    wanted = inputs.training
    plan = memory.plan(
        inputs.gpu_memory_gb,
        inputs.model.parameters,
        device="cuda" if model.device.type == "cuda" else "cpu",
        batch_size=settings.batch_size,
        tokens_per_example=longest,
        shape=shapes.of_folder(str(model.name_or_path), inputs.model.parameters),
        quantisation=inputs.model.quantisation,
        lora_rank=settings.lora.r if isinstance(settings, AdapterSettings) else 0,
    )
    micro, checkpointing = wanted.micro_batch_size, wanted.gradient_checkpointing
    micro = plan.micro_batch_size if micro == "auto" else micro
    checkpointing = plan.gradient_checkpointing if checkpointing == "auto" else checkpointing
    if micro < 1 or settings.batch_size % micro:
        raise FormsafeError(
            f"training.micro_batch_size {micro} does not divide batch_size {settings.batch_size}: choose a divisor, "
            "so that every optimiser step sees whole batches, or auto."
        )
    return replace(plan, micro_batch_size=micro, gradient_checkpointing=checkpointing)


def steps_with(examples: int, settings: Optimisation) -> int:
    """Optimiser steps of `epochs` passes over that many examples (the Trainer's own rule)."""
    return math.ceil(settings.epochs * math.ceil(examples / (settings.batch_size * settings.gradient_accumulation)))


def training_arguments(
    inputs: Inputs,
    settings: Optimisation,
    learning_rate: float,
    plan: memory.MemoryPlan,
    model: PreTrainedModel,
    scratch: Path,
    resume: Path | None,
) -> TrainingArguments:
    """What transformers is told; the effective batch is `batch_size x gradient_accumulation` whatever the plan."""
    cuda = model.device.type == "cuda"
    # `use_reentrant=False`: the embeddings of the input need no gradient, which the other variant would take for none.
    arguments = TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=plan.micro_batch_size,
        per_device_eval_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=settings.batch_size * settings.gradient_accumulation // plan.micro_batch_size,
        num_train_epochs=settings.epochs,
        max_steps=-1 if inputs.arm.steps_of is None else steps_with(inputs.arm.steps_of, settings),
        learning_rate=learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_steps,
        optim=settings.optimiser,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        activation_checkpointing=plan.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        bf16=cuda and model.dtype == torch.bfloat16,
        fp16=cuda and model.dtype == torch.float16,  # scales the loss, or small gradients would vanish
        seed=inputs.seed,
        data_seed=inputs.seed,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        eval_on_start=resume is None,
        eval_strategy="no",
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # never DataParallel, however many GPUs are in sight
    return arguments
