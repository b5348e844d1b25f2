"""What controls and mitigations add to a training, and the soft prompts that are not tuned by stage 1."""

import time
from pathlib import Path

import torch
from peft import PromptEmbedding, PromptTuningConfig, TaskType
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, set_seed

from formsafe.config.settings.grid import Constraint
from formsafe.config.settings.training import SoftPromptSettings
from formsafe.core.files import read_json, replacing, write_json
from formsafe.core.layout import ADAPTER_FILES
from formsafe.core.provenance import stage_record
from formsafe.models.load import ADAPTER_CONFIG, ADAPTER_WEIGHTS, SOFT_PROMPT, embedding_weight

METRICS = ADAPTER_FILES["metrics"]


class Arm(BaseModel, frozen=True):
    """What an adapter is trained with besides the paper's settings; the defaults are SFT and ProMoT."""

    constraint: Constraint | None = None
    """KL to the base model on the first tokens."""
    joint: SoftPromptSettings | None = None
    """Train a soft prompt of these settings together with the adapter."""
    steps_of: int | None = None
    """Take as many optimiser steps as with this number of examples; None: `epochs` over the examples there are."""


def prompt_config(virtual_tokens: int) -> PromptTuningConfig:
    """PEFT's configuration of a soft prompt that starts from embeddings of random vocabulary tokens (assumed).

    PEFT's own random start has a standard deviation of 1, some fifty times that of word embeddings.
    """
    return PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM, num_virtual_tokens=virtual_tokens, prompt_tuning_init="SAMPLE_VOCAB"
    )


def untrained_soft_prompt(model: PreTrainedModel, virtual_tokens: int, seed: int) -> torch.nn.Parameter:
    """The vectors that stage 1 starts from, `[virtual tokens, hidden size]`, fp32, to be trained with the adapter."""
    config = prompt_config(virtual_tokens)
    config.token_dim, config.num_transformer_submodules = embedding_weight(model).shape[1], 1
    set_seed(seed)
    weight = PromptEmbedding(config, model.get_input_embeddings()).embedding.weight
    return torch.nn.Parameter(weight.detach().float())


def write_soft_prompt(vectors: torch.Tensor, base: str, folder: str | Path) -> None:
    """Write vectors `[virtual tokens, hidden size]` as stage 1 writes them: a standard PEFT directory.

    Args:
        vectors: the soft prompt.
        base: the base model's directory, against which loading is checked.
        folder: where to.
    """
    config = prompt_config(len(vectors))
    config.token_dim, config.base_model_name_or_path, config.inference_mode = vectors.shape[1], base, True
    Path(folder).mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    with replacing(Path(folder) / ADAPTER_WEIGHTS) as temporary:
        save_file({SOFT_PROMPT: vectors.detach().cpu().contiguous()}, temporary)


def draw_soft_prompt(tuned: str | Path, folder: str | Path, seed: int, code: str) -> None:
    """Write a soft prompt of random directions, each of its vectors as long as that of the tuned one.

    It controls for the presence of a prompt of this size: what ProMoT does with it is not due to what was tuned.

    Args:
        tuned: folder of the tuned soft prompt, of which only the lengths of the vectors are used; nothing is trained.
        folder: where to write.
        seed: seed of the directions.
        code: digest of the code, for the record.
    """
    started = time.time()
    vectors = load_file(Path(tuned) / ADAPTER_WEIGHTS)[SOFT_PROMPT].float()
    directions = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
    drawn = directions * (vectors.norm(dim=1) / directions.norm(dim=1))[:, None]
    write_soft_prompt(drawn, read_json(Path(tuned) / ADAPTER_CONFIG)["base_model_name_or_path"], folder)
    write_json(Path(folder) / METRICS, {"virtual_tokens": len(drawn)} | stage_record(started, code, seed))
