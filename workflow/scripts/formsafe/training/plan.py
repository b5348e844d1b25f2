"""A training's inputs, its memory plan, and the arguments of transformers' Trainer."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.training import AdapterSettings, Optimisation, TrainingSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.layout import partitions
from formsafe.models.context import ModelContext
from formsafe.models.memory import TrainingBatch, TrainingPlan, plan_training
from formsafe.training.arm import Arm


@dataclass(frozen=True)
class Inputs:
    """Inputs of both stages: the model's manifest, its settings, the data, and the folder of the results."""

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


def memory_plan(
    inputs: Inputs, settings: Optimisation, context: ModelContext, lengths: list[int], flat: bool, resume: Path | None
) -> TrainingPlan:
    """The memory plan, with what the user has set taking precedence.

    Args:
        inputs: of the training.
        settings: of the stage.
        context: of the model.
        lengths: tokens of each example, the soft prompt included.
        flat: whether batches have no padding.
        resume: checkpoint to continue from, whose micro-batch is kept where it fits this card.

    Raises:
        FormsafeError: when `training.micro_batch_size` does not divide the optimiser step.
    """
    rank = settings.lora.r if isinstance(settings, AdapterSettings) else 0
    spread = (fmean(lengths), pstdev(lengths)) if flat else ()
    batch = TrainingBatch(settings.batch_size, settings.gradient_accumulation, max(lengths), rank, *spread)
    plan = plan_training(context, batch)
    wanted, step = inputs.training, batch.size * batch.accumulation
    checkpointing = wanted.gradient_checkpointing
    micro = wanted.micro_batch_size
    if micro == "auto":
        # Rounding and dropout's draws follow the micro-batch, so a training that continues keeps its own. The Trainer's
        # reader: an fp16 step whose gradients overflowed is skipped, and leaves a NaN in the file.
        state = None if resume is None else TrainerState.load_from_json(str(resume / TRAINER_STATE_NAME))
        kept = None if state is None else state.train_batch_size
        micro = kept if kept and step % kept == 0 and kept < plan.micro_batch_size else plan.micro_batch_size
    if step % micro:
        raise FormsafeError(
            f"training.micro_batch_size {micro} does not divide the {step} examples of an optimiser step (batch_size x "
            "gradient_accumulation): choose a divisor, so that every step sees whole batches, or auto."
        )
    return TrainingPlan(micro, plan.gradient_checkpointing if checkpointing == "auto" else checkpointing)


# Columns, evaluation, checkpoints, logs and progress are this library's own, not the Trainer's.
OWN: dict[str, Any] = {
    **{"remove_unused_columns": False, "eval_strategy": "no", "save_strategy": "no", "disable_tqdm": True},
    **{"logging_steps": 1, "logging_nan_inf_filter": False},
}


def training_arguments(
    inputs: Inputs,
    settings: Optimisation,
    learning_rate: float,
    plan: TrainingPlan,
    model: PreTrainedModel,
    scratch: Path,
    resume: Path | None,
) -> TrainingArguments:
    """Arguments of the Trainer; a step has `batch_size x gradient_accumulation` examples with every plan."""
    cuda = model.device.type == "cuda"
    # `use_reentrant=False`: embeddings of the input need no gradient, and the other variant then computes none at all.
    arguments = TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=plan.micro_batch_size,
        per_device_eval_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=settings.batch_size * settings.gradient_accumulation // plan.micro_batch_size,
        num_train_epochs=settings.epochs,
        max_steps=-1 if inputs.arm.steps_of is None else settings.steps(inputs.arm.steps_of),
        learning_rate=learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_steps,
        optim=settings.optimiser,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        activation_checkpointing=plan.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        bf16=cuda and model.dtype == torch.bfloat16,
        fp16=cuda and model.dtype == torch.float16,  # scales the loss, since small gradients would become 0
        seed=inputs.seed,
        data_seed=inputs.seed,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        eval_on_start=resume is None,
        **OWN,
        **_reports(inputs),
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # never DataParallel, however many GPUs are visible
    return arguments


def _reports(inputs: Inputs) -> dict[str, Any]:
    """Arguments of the Trainer that say where losses are reported, and under which name."""
    services = list(inputs.training.report_to)
    name = " ".join(f"{axis}={value}" for axis, value in partitions(inputs.folder).items())
    # By default trackio publishes a page after training.
    private = {"hub_private_repo": True, "trackio_static_space_id": False} if "trackio" in services else {}
    return {"report_to": services or "none", "run_name": name or None, **private}
