"""Choosing the next tokens of a batch, and noting the probabilities of digits on the way."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedTokenizerFast

from formsafe.config.settings.generation import Decoding


@dataclass
class Generated:
    """Tokens of one answer without the end of turn; `digits` are (token index, probabilities) where watched."""

    ids: list[int] = field(default_factory=list)
    stopped: bool = False
    digits: list[tuple[int, list[float]]] = field(default_factory=list)


class DigitWatch:
    """Notes the probabilities of some digits wherever a row's next token is one of them, for the judge's certainty.

    Args:
        spellings: token ids of each digit (with and without a space before it, ...).
        device: where the logits are; ids that were copied there at every step would make the GPU wait.
    """

    def __init__(self, spellings: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> None:
        self.spellings = [torch.tensor(ids, dtype=torch.long, device=device) for ids in spellings]
        self.ids = {token for ids in spellings for token in ids}

    def note(self, logits: torch.Tensor, tokens: list[int], targets: list[Generated]) -> None:
        """Append to `targets` where their next token is a digit; `logits` are `[rows, vocabulary]`."""
        rows = [row for row, token in enumerate(tokens) if token in self.ids]
        if not rows:
            return
        # A digit has several spellings (" 3", "3"), so its probability is the sum over them.
        log_probabilities = logits[rows].float().log_softmax(-1)
        digits = torch.stack([log_probabilities[:, ids].logsumexp(-1) for ids in self.spellings], dim=1).exp().tolist()
        for row, probabilities in zip(rows, digits, strict=True):
            targets[row].digits.append((len(targets[row].ids), probabilities))


def digit_spellings(tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Token ids of each of the digits 1 to 5, alone or after a space, as the vocabulary spells them."""
    vocabulary = tokenizer.get_vocab()
    spellings = []
    for digit in "12345":
        # Byte-level vocabularies write a space as "Ġ", sentencepiece as "▁".
        ids = (vocabulary.get(spelling) for spelling in (digit, "Ġ" + digit, "▁" + digit))
        spellings.append(sorted({token for token in ids if token is not None}))
    return spellings


class Sampler:
    """Chooses the next tokens of a batch's rows.

    Each prompt draws from its own stream of uniform numbers, seeded by the seed and the prompt's own tokens; so a
    continued job and another batch give the same sample.
    """

    def __init__(self, decoding: Decoding, prompts: Sequence[list[int]], device: torch.device | str = "cpu") -> None:
        self.decoding = decoding
        self.uniform = None
        if decoding.temperature > 0:
            self.uniform = torch.stack([_stream(decoding, prompt) for prompt in prompts]).to(device)

    def choose(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        """Next token ids `[n]` for logits `[n, vocabulary]` of the batch's rows `rows` (`[n]`) at this step."""
        if self.uniform is None:
            return logits.argmax(-1)
        # In fp32 before the division: bf16 has so few values that different logits would become equal.
        scaled = logits.float() / self.decoding.temperature
        return _inverse_of_nucleus(scaled, self.decoding.top_p, self.uniform[rows, step][:, None])


def _inverse_of_nucleus(logits: torch.Tensor, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    """Sample by inverting the cumulative distribution of the likeliest tokens that together have `top_p`."""
    probabilities, order = logits.softmax(-1).sort(stable=True, dim=-1, descending=True)
    cumulative = probabilities.cumsum(-1)
    outside = cumulative - probabilities >= top_p
    outside[:, 0] = False
    probabilities = probabilities.masked_fill(outside, 0.0)
    cumulative = probabilities.cumsum(-1)
    # `uniform * total` and the clamp to the last token with a probability: rounding may leave the total below 1.
    place = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    last = (probabilities > 0).sum(-1, keepdim=True) - 1
    return order.gather(-1, torch.minimum(place, last)).squeeze(-1)


def _stream(decoding: Decoding, prompt: Sequence[int]) -> torch.Tensor:
    name = f"{decoding.seed}:{','.join(map(str, prompt))}"
    # Seven bytes: `manual_seed` takes 64 bits with a sign.
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.rand(decoding.max_new_tokens, generator=torch.Generator().manual_seed(seed))
