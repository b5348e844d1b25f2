"""Training of soft prompts and adapters (paper, table 3)."""

import math
from typing import Literal

from pydantic import Field, PositiveInt

from formsafe.config.settings.base import Auto, Settings

# Of transformers' own, those that need neither a further package nor settings of their own.
Optimiser = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "lion_32bit",
    "adafactor",
    "adagrad",
    "rmsprop",
    "sgd",
]

Reporter = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class Optimisation(Settings):
    """What stage 1 and stage 2 share."""

    batch_size: int = Field(gt=0)
    """Examples per batch (table 3: 16)."""
    gradient_accumulation: int = Field(gt=0)
    """Batches per optimiser step (table 3: 2)."""
    epochs: float = Field(gt=0)
    """Passes over the training examples."""
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    """Learning-rate schedule."""
    warmup_steps: int = Field(ge=0)
    """Optimiser steps of linear warm-up."""
    optimiser: Optimiser = "adamw_torch"
    """Name of a transformers optimiser (the paper does not say; assumed AdamW)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay (the paper does not say; assumed none)."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradient clipping (the paper does not say; assumed transformers' default)."""

    def steps(self, examples: int) -> int:
        """Optimiser steps of `epochs` passes over that many examples: the Trainer's own rule."""
        return math.ceil(self.epochs * math.ceil(examples / (self.batch_size * self.gradient_accumulation)))


class SoftPromptSettings(Optimisation):
    """ProMoT stage 1: prompt tuning on the frozen model (paper, section 3.1)."""

    virtual_tokens: int = Field(gt=0)
    """Length l of the soft prompt (table 3: 32)."""
    learning_rate: float = Field(gt=0, lt=10)
    """Learning rate (table 3: 0.1)."""


class LoraSettings(Settings):
    """The adapter (paper, table 3)."""

    r: int = Field(gt=0)
    """Rank (table 3: 16)."""
    alpha: int = Field(gt=0)
    """Scale numerator (table 3: 16)."""
    dropout: float = Field(ge=0, lt=1)
    """Dropout (table 3: 0.01)."""
    target_modules: str | list[str] = "all-linear"
    """Modules that get an adapter (table 3: all linear layers)."""


class AdapterSettings(Optimisation):
    """SFT and ProMoT stage 2 (paper, sections 2.1 and 3.2); the learning rate is part of the grid."""

    lora: LoraSettings
    """The adapter."""


class TrainingSettings(Settings):
    """What both stages share; their own hyperparameters are sections of their own, so that a change of one stage's
    leaves the other's results fresh."""

    max_length: int = Field(gt=0)
    """Longest example in tokens, prompt and response (the paper does not say)."""
    truncation_tolerance: float = Field(default=0.01, ge=0, le=1)
    """Share of examples that may be cut at `max_length` before it is an error."""
    validation_interval: float = Field(default=0.25, gt=0, le=1)
    """Validate each such fraction of the training, besides start and end."""
    # How to fit into memory and time changes a result by no more than rounding and dropout's draws. So other
    # values make no result stale, and a job that ran out of memory continues.
    checkpoint_minutes: float = Field(default=10.0, gt=0, exclude=True)
    """Minutes between checkpoints."""
    micro_batch_size: PositiveInt | Auto = Field(default="auto", exclude=True)
    """Examples in memory at once, a divisor of batch_size x gradient_accumulation; `auto` follows `gpu_memory_gb`."""
    gradient_checkpointing: bool | Auto = Field(default="auto", exclude=True)
    """Trade time for memory; `auto` follows `gpu_memory_gb`."""
    report_to: list[Reporter] = Field(default=[], exclude=True)
    """Services that are given losses and settings, too: `tensorboard`, `wandb`, `mlflow`, `trackio`; their packages are
    installed and their accounts set up (environment variables) by you."""
    threads: int = Field(default=1, gt=0)
    """CPU threads of PyTorch; pinned, since results differ between thread counts."""
