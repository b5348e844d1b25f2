"""How far a training moved the model's predictions, by position in the response."""

from collections.abc import Sequence

import torch
from accelerate.utils import send_to_device
from peft import PeftModel

from formsafe.training.collation import Collator
from formsafe.training.examples import Example
from formsafe.training.trainer import divergence, target_logits

POSITIONS = 32
BATCH = 4  # examples at once: logits over a vocabulary of 128,000 take 0.5 MB per token and copy


@torch.no_grad()
def kl_to_base(model: PeftModel, examples: Sequence[Example], flat: bool, device: torch.device) -> list[float]:
    """KL(base model || model) in nats, as a mean over examples, at each of the first positions of the response.

    Both see the reference response up to the position (teacher forcing) and no soft prompt, as at inference.

    Args:
        model: a base model with an adapter.
        examples: validation examples.
        flat: as for `Collator`.
        device: of the model.

    Returns:
        One value per position, `[POSITIONS]` or fewer where no response is that long.
    """
    model.eval()
    collate, embeddings = Collator(flat), model.get_base_model().get_input_embeddings()
    sums, counts = torch.zeros(POSITIONS, dtype=torch.double), torch.zeros(POSITIONS, dtype=torch.double)
    for start in range(0, len(examples), BATCH):
        batch = collate(examples[start : start + BATCH])
        first = batch["depths"] < POSITIONS
        batch["keep"] = batch["keep"][first]
        batch = send_to_device(batch, device)
        with model.disable_adapter():
            reference = target_logits(model, embeddings, batch, None)
        found = divergence(target_logits(model, embeddings, batch, None), reference).double().cpu()
        depths = batch["depths"].cpu()[first]
        sums.index_add_(0, depths, found)
        counts.index_add_(0, depths, torch.ones_like(found))
    return [round(value, 6) for value in (sums / counts)[counts > 0].tolist()]
