"""Which weights of a model get an adapter."""

import re

from peft import LoraConfig, TaskType
from torch import nn
from transformers import PreTrainedModel

from formsafe.config.settings.training import LoraSettings
from formsafe.core.errors import FormsafeError

ALL_LINEAR = "all-linear"


def lora_config(model: PreTrainedModel, lora: LoraSettings) -> LoraConfig:
    """PEFT's configuration of an adapter on the part of a model that computes with text.

    Raises:
        FormsafeError: for a mixture of experts, most of whose weights are in no linear layer, with `all-linear`.
    """
    share, name = expert_share(model), model.name_or_path or type(model).__name__
    if share and str(lora.target_modules).lower() == ALL_LINEAR:
        raise FormsafeError(
            f"{share:.0%} of the weights of {name} are the experts of a mixture, no "
            "linear layers, so that an adapter on all-linear would leave them out. Name the modules to train without "
            "them (adapter.lora.target_modules: [q_proj, k_proj, v_proj, o_proj]), or take a dense model."
        )
    apart = beside_text(model)
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        # `model.vision_tower` excludes all that is below it
        exclude_modules=rf"({'|'.join(map(re.escape, apart))})(\..*)?" if apart else None,
    )


def beside_text(model: PreTrainedModel) -> list[str]:
    """Names of the modules with linear layers that text does not pass: the vision tower of Gemma 3, its projector.

    An adapter there would never have a gradient, and would be saved and loaded for nothing.
    """
    decoder, output = model.get_decoder(), model.get_output_embeddings()
    path = next(name for name, module in model.named_modules() if module is decoder)
    parts = path.split(".") if path else []
    above = {".".join(parts[:depth]) for depth in range(len(parts))}
    return [
        name
        for name, module in model.named_modules()
        if name and name != path and name not in above and module is not output
        if name.rpartition(".")[0] in above and _has_linear(module)
    ]


def _has_linear(module: nn.Module) -> bool:
    return any(isinstance(inner, nn.Linear) for inner in module.modules())


def expert_share(model: PreTrainedModel) -> float:
    """Share of a decoder's weights that are in the experts of a mixture; 0 for a dense model.

    transformers holds the experts of a layer in one tensor, `[experts, outputs, inputs]`. Neither an adapter on linear
    layers nor bitsandbytes reaches it. Convolutions have weights of three dimensions, too.
    """
    decoder = model.get_decoder()
    fused = [
        weight.numel()
        for module in decoder.modules()
        if not isinstance(module, nn.Conv1d)
        for weight in module.parameters(recurse=False)
        if weight.ndim == 3 and min(weight.shape) > 1  # RWKV has vectors of three dimensions
    ]
    return sum(fused) / sum(weight.numel() for weight in decoder.parameters())
