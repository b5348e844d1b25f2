"""Gradients through 4-bit weights, and through the same weights dequantised."""

from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model

from formsafe.models import varlen_attention
from formsafe.models.load import Placement, load_model, load_tokenizer
from formsafe.training.collation import Collator
from formsafe.training.examples import tokenise
from tests.losses import token_losses


def lora_gradients(
    model: Path, data: Path, device: Literal["cpu", "cuda"]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """LoRA's gradients in fp32, before and after an evaluation: of 4-bit weights, and of the dequantised ones."""
    import bitsandbytes as bnb

    tokenizer = load_tokenizer(model)
    rows = tokenise(data, tokenizer, [tokenizer.eos_token_id], max_length=512, tolerance=0)
    batch = on_device(Collator(True)(rows.rows), device)
    quantised, exact = (
        load_model(model, Placement(device, "float32", quantisation, varlen_attention.NAME))
        for quantisation in ("nf4", "none")
    )
    found = 0
    for name, module in quantised.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            exact.get_submodule(name).weight.data = weight.float()
            found += 1
    assert found == 14
    return _gradients(quantised, batch), _gradients(exact, batch)


def on_device(value: Any, device: str) -> Any:
    """A batch with all its tensors on `device`."""
    if isinstance(value, dict):
        return {name: on_device(part, device) for name, part in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _gradients(model: Any, batch: dict[str, Any]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(model, config)
    seen = []
    for evaluate in (False, True):
        if evaluate:
            with torch.no_grad():
                token_losses(adapted.eval(), adapted.get_input_embeddings(), batch, None)
        adapted.zero_grad()
        token_losses(adapted.train(), adapted.get_input_embeddings(), batch, None).sum().backward()
        seen.append(torch.cat([p.grad.flatten() for p in adapted.parameters() if p.requires_grad]))
    return seen
