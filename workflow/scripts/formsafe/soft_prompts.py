"""Stage 1's soft prompt: PEFT prompt tuning on a frozen model (paper, section 3.1)."""

import torch
from peft import PeftModel, PromptTuningConfig, TaskType, get_peft_model
from transformers import PreTrainedModel, set_seed

from formsafe.models import embedding_weight
from formsafe.settings.training import SoftPromptSettings


def add_soft_prompt(model: PreTrainedModel, settings: SoftPromptSettings, seed: int) -> PeftModel:
    """Freeze `model` and put a trainable soft prompt of fp32 embeddings before its input.

    PEFT's own random start has a spread of 1, some fifty times that of word embeddings; neither choice here has:
    `vocabulary` starts from embeddings of random tokens, `normal` draws with the embeddings' own mean and spread.
    """
    sampled = settings.init == "vocabulary"
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=settings.virtual_tokens,
        prompt_tuning_init="SAMPLE_VOCAB" if sampled else "RANDOM",
    )
    set_seed(seed)
    tuned = get_peft_model(model, config)
    assert isinstance(tuned, PeftModel)
    if not sampled:
        words = embedding_weight(model).float()
        with torch.no_grad():
            prompt = tuned.prompt_encoder[tuned.active_adapter].embedding.weight
            prompt.normal_(words.mean().item(), words.std().item())
    return tuned
