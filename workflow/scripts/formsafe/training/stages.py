"""The two stages of training; SFT is stage 2 without a soft prompt (paper, sections 2.1 and 3)."""

import hashlib
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, TaskType, get_peft_model
from transformers import PreTrainedModel, PrinterCallback, set_seed

from formsafe.config.settings.training import AdapterSettings, LoraSettings, Optimisation, SoftPromptSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, replacing, write_json
from formsafe.core.provenance import stage_record
from formsafe.models import memory, varlen_attention
from formsafe.models.load import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    end_of_turn_ids,
    load_model,
    load_soft_prompt,
    load_tokenizer,
    resolve,
)
from formsafe.training import checkpoints, examples, loss_log
from formsafe.training.collation import Collator
from formsafe.training.pace import Pace
from formsafe.training.plan import Inputs, memory_plan, training_arguments
from formsafe.training.sparse_dropout import replace_dropout
from formsafe.training.trainer import SplitLossTrainer

__all__ = ["Inputs", "add_adapter", "add_soft_prompt", "train_adapter", "tune_soft_prompt"]

LOSS, VALIDATION_LOSS, METRICS = "loss.csv", "validation.csv", "metrics.json"


def tune_soft_prompt(inputs: Inputs, settings: SoftPromptSettings) -> None:
    """Stage 1: tune a soft prompt on the frozen model; write a PEFT directory, loss tables and metrics.

    Raises:
        FormsafeError: for whatever the user can put right (data, model, memory, device), or when stopped by a signal.
    """
    started = time.time()
    model = _load(inputs)
    tuned = add_soft_prompt(model, settings.virtual_tokens, inputs.seed)
    _train(inputs, settings, settings.learning_rate, tuned, None, started)


def train_adapter(
    inputs: Inputs, settings: AdapterSettings, learning_rate: float, soft_prompt: str | Path | None = None
) -> None:
    """SFT, or stage 2 of ProMoT where `soft_prompt` is the folder of stage 1; writes what stage 1 writes.

    The frozen p* stands before every input in training and is no part of what is saved.

    Raises:
        FormsafeError: as `tune_soft_prompt`, and for a soft prompt of another model.
    """
    started = time.time()
    model = _load(inputs)
    prompt = None if soft_prompt is None else load_soft_prompt(soft_prompt, model)
    adapted = add_adapter(model, settings.lora, inputs.seed)
    _train(inputs, settings, learning_rate, adapted, prompt, started)


def add_soft_prompt(model: PreTrainedModel, virtual_tokens: int, seed: int) -> PeftModel:
    """Freeze `model` and put a trainable soft prompt of fp32 embeddings before its input (paper, section 3.1).

    It starts from embeddings of random vocabulary tokens (assumed); PEFT's own random start has a spread of 1, some
    fifty times that of word embeddings.
    """
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM, num_virtual_tokens=virtual_tokens, prompt_tuning_init="SAMPLE_VOCAB"
    )
    set_seed(seed)
    tuned = get_peft_model(model, config)
    assert isinstance(tuned, PeftModel)
    return tuned


def add_adapter(model: PreTrainedModel, lora: LoraSettings, seed: int) -> PeftModel:
    """Freeze `model` and put a trainable LoRA adapter, fp32, on its linear layers."""
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
    )
    set_seed(seed)
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    if model.device.type == "cpu":
        replace_dropout(adapted)
    return adapted


def _load(inputs: Inputs) -> PreTrainedModel:
    torch.set_num_threads(inputs.training.threads)
    placement = resolve(inputs.model, "training", inputs.gpu_memory_gb)
    return load_model(read_json(inputs.manifest)["path"], placement)


def _train(
    inputs: Inputs,
    settings: Optimisation,
    learning_rate: float,
    model: PeftModel,
    prompt: torch.Tensor | None,
    started: float,
) -> None:
    base = model.get_base_model()
    virtual = model.active_peft_config.num_virtual_tokens if model.active_peft_config.is_prompt_learning else 0
    virtual = virtual if prompt is None else len(prompt)
    data, validation = _tokenised(inputs, base, virtual)
    plan = memory_plan(inputs, settings, base, max(len(example.ids) for example in data.rows) + virtual)
    job = _identity(inputs, settings, learning_rate, prompt)
    scratch = checkpoints.open_scratch(inputs.folder, job)
    resume = checkpoints.latest(scratch)
    arguments = training_arguments(inputs, settings, learning_rate, plan, base, scratch, resume)
    collator = Collator(varlen_attention.flattens(base.config), virtual)
    trainer = SplitLossTrainer(model, arguments, collator, data, validation, prompt)
    pace = Pace(inputs.training.validation_interval, inputs.training.checkpoint_minutes)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(pace)
    _run(trainer, pace, resume)
    _write(inputs, model, trainer, scratch)
    own = {
        **data.figures(),
        **trainer.figures(),
        "micro_batch_size": plan.micro_batch_size,
        "gradient_checkpointing": plan.gradient_checkpointing,
        "padding_free": collator.flat,
        "learning_rate": learning_rate,
        "virtual_tokens": virtual,
        "continued_from_step": None if resume is None else checkpoints.step_of(resume),
    }
    before = 0.0 if resume is None else trainer.seconds_until(checkpoints.step_of(resume))
    write_json(Path(inputs.folder) / METRICS, own | stage_record(started, inputs.code, inputs.seed, before))
    checkpoints.remove_scratch(scratch)


def _tokenised(inputs: Inputs, model: PreTrainedModel, virtual: int) -> tuple[examples.Examples, examples.Examples]:
    tokenizer = load_tokenizer(str(model.name_or_path))
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or inputs.training.max_length
    stops = end_of_turn_ids(tokenizer, model)
    length = min(inputs.training.max_length, context - virtual)
    train, validation = (
        examples.tokenise(
            path,
            tokenizer,
            stops,
            max_length=length,
            tolerance=inputs.training.truncation_tolerance,
            system=inputs.system_prompt,
        )
        for path in (inputs.train, inputs.validation)
    )
    return train, validation


def _run(trainer: SplitLossTrainer, pace: Pace, resume: Path | None) -> None:
    if resume is not None:
        print(f"continuing from step {checkpoints.step_of(resume)} ({resume})")
    try:
        with pace.listening():
            trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    except RuntimeError as error:
        if not memory.is_lacking(error):
            raise
        raise FormsafeError(
            "Out of memory in training. Set training.micro_batch_size to a smaller divisor of the batch size (1 is the "
            "least; the effective batch stays the same), training.gradient_checkpointing to true, a smaller "
            "gpu_memory_gb for a tighter plan, or quantisation nf4. Checkpoints are kept, and the next run continues."
        ) from error
    if trainer.state.global_step < trainer.state.max_steps:
        cause = "stopped" if pace.caught is None else f"stopped by {pace.caught.name}"
        raise FormsafeError(
            f"Training was {cause} at step {trainer.state.global_step} of {trainer.state.max_steps}; its checkpoint is "
            "kept. Run again to continue from there."
        )
    # The loss shows the step before; what the last step did to the weights shows only here.
    weights = sum(parameter.detach().double().sum().item() for parameter in trainer.trained())
    loss_log.check_finite("sum of the weights", weights, trainer.state.global_step)


def _write(inputs: Inputs, model: PeftModel, trainer: SplitLossTrainer, scratch: Path) -> None:
    """Put the results in place; metrics.json, on which later stages depend, comes last and elsewhere."""
    folder = Path(inputs.folder)
    checkpoints.save_adapter(model, scratch / "adapter")
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        with replacing(folder / name) as temporary:
            shutil.move(scratch / "adapter" / name, temporary)
    loss_log.write_tables(trainer.state.log_history, folder / LOSS, folder / VALIDATION_LOSS)


def _identity(
    inputs: Inputs, settings: Optimisation, learning_rate: float, prompt: torch.Tensor | None
) -> dict[str, Any]:
    """All that the result depends on (but for rounding)."""
    return {
        "code": inputs.code,
        "seed": inputs.seed,
        "model": read_json(inputs.manifest),
        "settings": [settings.model_dump(), inputs.training.model_dump(), inputs.model.model_dump()],
        "placement": asdict(resolve(inputs.model, "training", inputs.gpu_memory_gb)),
        "learning_rate": learning_rate,
        "system_prompt": inputs.system_prompt,
        "data": [_digest(Path(path).read_bytes()) for path in (inputs.train, inputs.validation)],
        "soft_prompt": None if prompt is None else _digest(prompt.cpu().numpy().tobytes()),
        "torch": torch.__version__,
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
