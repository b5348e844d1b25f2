"""The loss of each token, which the trainer sums."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from formsafe.training.trainer import target_logits


def token_losses(
    model: torch.nn.Module, embeddings: torch.nn.Module, batch: dict[str, Any], soft_prompt: torch.Tensor | None
) -> torch.Tensor:
    """Cross-entropy of every learned token, `[targets]`, in fp32; arguments as of `target_logits`."""
    logits = target_logits(model, embeddings, batch, soft_prompt)
    return cross_entropy(logits.float(), batch["labels"], reduction="none")
