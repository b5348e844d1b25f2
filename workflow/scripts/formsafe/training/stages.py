"""The two stages of training; SFT is stage 2 without a soft prompt (paper, sections 2.1 and 3)."""

import hashlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PrinterCallback, set_seed

from formsafe.config.settings.training import AdapterSettings, LoraSettings, Optimisation, SoftPromptSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import file_digest, read_json, write_json
from formsafe.core.layout import ADAPTER_FILES
from formsafe.core.provenance import stage_record
from formsafe.models import memory, varlen_attention
from formsafe.models.context import ModelContext, context_length, read_context
from formsafe.models.load import Placement, end_of_turn_ids, load_model, load_soft_prompt, load_tokenizer, place
from formsafe.sources.models import model_folder
from formsafe.training import checkpoints, drift, examples, loss_log
from formsafe.training.adapters import lora_config
from formsafe.training.arm import METRICS, prompt_config, untrained_soft_prompt, write_soft_prompt
from formsafe.training.collation import Collator
from formsafe.training.pace import Pace
from formsafe.training.plan import Inputs, memory_plan, training_arguments
from formsafe.training.sparse_dropout import replace_dropout
from formsafe.training.trainer import SplitLossTrainer

__all__ = ["Inputs", "add_adapter", "add_soft_prompt", "train_adapter", "tune_soft_prompt"]

LOSS, VALIDATION_LOSS = ADAPTER_FILES["loss"], ADAPTER_FILES["validation_loss"]


def tune_soft_prompt(inputs: Inputs, settings: SoftPromptSettings) -> None:
    """Stage 1: tune a soft prompt on the frozen model; write a PEFT directory, loss tables and metrics.

    Raises:
        FormsafeError: for what the user can correct (data, model, memory, device), or when stopped by a signal.
    """
    started = time.time()
    context, model = _load(inputs)
    tuned = add_soft_prompt(model, settings.virtual_tokens, inputs.seed)
    _train(inputs, settings, settings.learning_rate, context, tuned, None, started)


def train_adapter(
    inputs: Inputs, settings: AdapterSettings, learning_rate: float, soft_prompt: str | Path | None = None
) -> None:
    """SFT, or stage 2 of ProMoT if `soft_prompt` is the folder of stage 1; writes the same files as stage 1.

    The frozen p* is put before every input in training and is not saved with the adapter. A soft prompt that is trained
    together with the adapter (`inputs.arm.joint`) is written to the folder `soft_prompt` in the adapter's.

    Raises:
        FormsafeError: as `tune_soft_prompt`, and for a soft prompt of another model.
    """
    started = time.time()
    context, model = _load(inputs)
    prompt = None if soft_prompt is None else load_soft_prompt(soft_prompt, model)
    if inputs.arm.joint is not None:
        prompt = untrained_soft_prompt(model, inputs.arm.joint.virtual_tokens, inputs.seed)
    adapted = add_adapter(model, settings.lora, inputs.seed)
    _train(inputs, settings, learning_rate, context, adapted, prompt, started)


def add_soft_prompt(model: PreTrainedModel, virtual_tokens: int, seed: int) -> PeftModel:
    """Freeze `model` and put a trainable soft prompt of fp32 embeddings before its input (paper, section 3.1)."""
    return _wrapped(model, prompt_config(virtual_tokens), seed)


def add_adapter(model: PreTrainedModel, lora: LoraSettings, seed: int) -> PeftModel:
    """Freeze `model` and put a trainable LoRA adapter, fp32, on its linear layers.

    Raises:
        FormsafeError: for a mixture of experts whose experts the adapter would leave out.
    """
    adapted = _wrapped(model, lora_config(model, lora), seed)
    if model.device.type == "cpu":
        replace_dropout(adapted)
    return adapted


def _wrapped(model: PreTrainedModel, config: PeftConfig, seed: int) -> PeftModel:
    set_seed(seed)
    wrapped = get_peft_model(model, config)
    assert isinstance(wrapped, PeftModel)
    return wrapped


def _load(inputs: Inputs) -> tuple[ModelContext, PreTrainedModel]:
    torch.set_num_threads(inputs.training.threads)
    folder = model_folder(read_json(inputs.manifest))
    context = read_context(folder, inputs.model, inputs.gpu_memory_gb)
    return context, load_model(folder, place(context, "training"))


def _train(
    inputs: Inputs,
    settings: Optimisation,
    learning_rate: float,
    context: ModelContext,
    model: PeftModel,
    prompt: torch.Tensor | None,
    started: float,
) -> None:
    base = model.get_base_model()
    tuned = model.active_peft_config.is_prompt_learning
    virtual = getattr(model.active_peft_config, "num_virtual_tokens", 0) if prompt is None else len(prompt)
    train, validation = _tokenised(inputs, base, virtual)
    identity = _identity(inputs, settings, learning_rate, place(context, "training"), prompt)
    scratch = checkpoints.open_scratch(inputs.folder, identity)
    resume = checkpoints.latest(scratch)
    step = None if resume is None else checkpoints.step_of(resume)
    collator = Collator(varlen_attention.flattens(base.config), virtual)
    lengths = [len(example.ids) + virtual for example in train.rows]
    data = (train.rows, validation.rows)
    plan = memory_plan(inputs, settings, context, lengths, collator.flat, resume)
    arguments = training_arguments(inputs, settings, learning_rate, plan, base, scratch, resume)
    rate = 0.0 if inputs.arm.joint is None else inputs.arm.joint.learning_rate
    trainer = SplitLossTrainer(model, arguments, collator, data, prompt, rate, inputs.arm.constraint)
    _run(trainer, Pace(inputs.training.validation_interval, inputs.training.checkpoint_minutes), resume)
    folder = Path(inputs.folder)
    checkpoints.publish_adapter(model, scratch, folder)
    if isinstance(prompt, torch.nn.Parameter):
        write_soft_prompt(prompt, str(base.name_or_path), folder / "soft_prompt")
    loss_log.write_tables(trainer.state.log_history, folder / LOSS, folder / VALIDATION_LOSS)
    own = {
        **train.figures(),
        **trainer.figures(),
        "micro_batch_size": plan.micro_batch_size,
        "gradient_checkpointing": plan.gradient_checkpointing,
        "padding_free": collator.flat,
        "learning_rate": learning_rate,
        "virtual_tokens": virtual,
        "kl_to_base": None if tuned else drift.kl_to_base(model, validation.rows, collator.flat, base.device),
        "continued_from_step": step,
    }
    before = 0.0 if step is None else trainer.seconds_until(step)
    # metrics.json comes last, since later stages depend on it
    write_json(folder / METRICS, own | stage_record(started, inputs.code, inputs.seed, before))
    checkpoints.remove_scratch(scratch)


def _tokenised(inputs: Inputs, model: PreTrainedModel, virtual: int) -> list[examples.Examples]:
    """Training and validation examples."""
    tokenizer = load_tokenizer(str(model.name_or_path), inputs.model)
    length = int(min(inputs.training.max_length, context_length(model.config) - virtual))
    return [
        examples.tokenise(
            path,
            tokenizer,
            end_of_turn_ids(tokenizer, model),
            max_length=length,
            tolerance=inputs.training.truncation_tolerance,
            system=inputs.system_prompt,
        )
        for path in (inputs.train, inputs.validation)
    ]


def _run(trainer: SplitLossTrainer, pace: Pace, resume: Path | None) -> None:
    if resume is not None:
        print(f"continuing from step {checkpoints.step_of(resume)} ({resume})")
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(pace)
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
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if step < steps:
        cause = "stopped" if pace.caught is None else f"stopped by {pace.caught.name}"
        raise FormsafeError(
            f"Training was {cause} at step {step} of {steps}; its checkpoint is kept. Run again to continue from there."
        )
    # The loss is that of the weights before the step; what the last step did to the weights shows only here.
    weights = sum(parameter.detach().double().sum().item() for parameter in trainer.trained())
    loss_log.check_finite("sum of the weights", weights, step)


def _identity(
    inputs: Inputs,
    settings: Optimisation,
    learning_rate: float,
    placement: Placement,
    prompt: torch.Tensor | None,
) -> dict[str, Any]:
    """All that the result depends on, up to rounding; a checkpoint of another identity is not continued."""
    return {
        "code": inputs.code,
        "seed": inputs.seed,
        "model": read_json(inputs.manifest),
        "settings": [settings.model_dump(), inputs.training.model_dump(), inputs.model.model_dump()],
        "placement": asdict(placement),
        "learning_rate": learning_rate,
        "system_prompt": inputs.system_prompt,
        "data": [file_digest(path) for path in (inputs.train, inputs.validation)],
        "soft_prompt": None if prompt is None else hashlib.sha256(prompt.detach().cpu().numpy().tobytes()).hexdigest(),
        "arm": repr(inputs.arm),
        "torch": torch.__version__,
    }
