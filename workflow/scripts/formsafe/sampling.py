"""Choosing tokens: greedy, or a seeded sample that depends on the prompt alone and not on the rest of its batch."""

import hashlib
from collections.abc import Sequence

import torch

from formsafe.settings.generation import Decoding


class Sampler:
    """Chooses the next tokens of a batch's rows.

    Each prompt draws from its own stream of uniform numbers, seeded by the seed and the prompt's own tokens; so a
    continued job and another batch give the same sample.
    """

    def __init__(self, decoding: Decoding, prompts: Sequence[Sequence[int]]) -> None:
        self.decoding = decoding
        self.uniform = None
        if decoding.temperature > 0:
            self.uniform = torch.stack([_stream(decoding, prompt) for prompt in prompts])

    def choose(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        """Next token ids `[n]` for logits `[n, vocabulary]` of the batch's rows `rows` (`[n]`) at this step."""
        if self.uniform is None:
            return logits.argmax(-1)
        uniform = self.uniform[rows.cpu(), step].to(logits.device)[:, None]
        # in fp32 before the division: bf16 would round logits to the nearest of few
        return _inverse_of_nucleus(logits.float() / self.decoding.temperature, self.decoding.top_p, uniform)


def _inverse_of_nucleus(logits: torch.Tensor, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    """Sample by inverting the cumulative distribution of the likeliest tokens that together have `top_p`."""
    probabilities, order = logits.softmax(-1).sort(stable=True, dim=-1, descending=True)
    cumulative = probabilities.cumsum(-1)
    outside = cumulative - probabilities >= top_p
    outside[:, 0] = False
    probabilities = probabilities.masked_fill(outside, 0.0)
    cumulative = probabilities.cumsum(-1)
    place = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    last = (probabilities > 0).sum(-1, keepdim=True) - 1
    return order.gather(-1, torch.minimum(place, last)).squeeze(-1)


def _stream(decoding: Decoding, prompt: Sequence[int]) -> torch.Tensor:
    name = f"{decoding.seed}:{','.join(map(str, prompt))}"
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.rand(decoding.max_new_tokens, generator=torch.Generator().manual_seed(seed))
