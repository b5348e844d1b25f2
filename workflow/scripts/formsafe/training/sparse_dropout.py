"""Dropout for small rates on a CPU: draws the few elements that are dropped instead of a mask for all.

The gaps between successes of independent trials are geometric, so drawing gaps gives exactly the same distribution of
masks as one trial an element, at about `rate` times the random numbers (Devroye 1986, chapter X).
"""

import math
from typing import Any

import torch


class SparseDropout(torch.nn.Module):
    """Drop-in for `torch.nn.Dropout` with `0 < rate < 1`; kept elements are scaled by `1 / (1 - rate)`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Drop elements of a tensor of any shape in training; the identity otherwise."""
        return _Drop.apply(features, self.rate) if self.training else features


def dropped_places(elements: int, rate: float) -> torch.Tensor:
    """Sorted places of the dropped among `elements`, each dropped independently with probability `rate`."""
    expected = elements * rate
    draws = int(expected + 6 * math.sqrt(expected) + 16)  # nearly always enough; the loop makes it always
    places = torch.empty(0, dtype=torch.long)
    while True:
        # 1 - u keeps the logarithm finite, since u may be 0 but not 1.
        gaps = torch.log1p(-torch.rand(draws, dtype=torch.float64)).div_(math.log1p(-rate)).long().add_(1)
        gaps[0] += places[-1] if len(places) else -1
        places = torch.cat([places, gaps.cumsum_(0)])
        if places[-1] >= elements:
            return places[: torch.searchsorted(places, elements)]


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: torch.Tensor, rate: float) -> torch.Tensor:
        context.places, context.scale = dropped_places(features.numel(), rate), 1 / (1 - rate)
        return _scaled(features, context.places, context.scale)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _scaled(gradients[0], context.places, context.scale), None


def _scaled(tensor: torch.Tensor, places: torch.Tensor, scale: float) -> torch.Tensor:
    result = torch.mul(tensor.contiguous(), scale)
    result.view(-1).index_fill_(0, places, 0)
    return result


def replace_dropout(model: torch.nn.Module) -> None:
    """Replace every `torch.nn.Dropout` in `model` that drops anything; weights and state are untouched."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Dropout) and 0 < child.p < 1:
                setattr(module, name, SparseDropout(child.p))
