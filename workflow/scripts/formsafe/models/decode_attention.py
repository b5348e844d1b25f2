"""Attention of one new token per row while a GPU decodes: over static buffers, and over a prefix that all rows share.

With 500 rows half of a step is attention, so it must read each key once: cuDNN does so for heads that share keys, and
a shared prefix is read once for all rows instead of once per row (Juravsky et al. 2024, "Hydragen").
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

NAME = "formsafe_decode"


def avoid_faulty_cudnn(device: str) -> None:
    """Switch cuDNN's attention off on a GPU where it errs: for this attention and all others of the process."""
    # On Blackwell its kernels for one query repeat words and drop some, without an error (PyTorch issue 193893).
    if device == "cuda" and torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 10:
        torch.backends.cuda.enable_cudnn_sdp(False)


def decode_attention_forward(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    prefix: Sequence[tuple[torch.Tensor, torch.Tensor]] | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as sdpa of transformers does, and to a shared prefix as well.

    Args:
        module: the layer; `layer_idx` chooses its part of the prefix.
        query: `[rows, heads, tokens, width]`.
        key: `[rows, key heads, columns, width]`, each row's own; `value` likewise.
        attention_mask: `[rows, 1, tokens, columns]`, True where a token may look; the prefix is always visible.
        prefix: keys and values of each layer, `[1, key heads, prefix tokens, width]`.

    Returns:
        `[rows, tokens, heads, width]`, and None in the place of attention weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if prefix is not None:
        assert attention_mask is not None
        if query.shape[2] == 1:
            attended = attend_jointly(query, key, value, attention_mask, prefix[module.layer_idx], scaling)
            return attended.transpose(1, 2), None
        # While prompts are read, one layer's prefix is copied to some rows: that is done once, not at every step.
        shared = [states.expand(len(query), -1, -1, -1) for states in prefix[module.layer_idx]]
        key, value = torch.cat([shared[0], key], dim=2), torch.cat([shared[1], value], dim=2)
        seen = attention_mask.new_ones(*attention_mask.shape[:3], shared[0].shape[2])
        attention_mask = torch.cat([seen, attention_mask], dim=3)
    if query.shape[2] == 1 and _cudnn_serves(query, key, value, attention_mask):
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            attended = scaled_dot_product_attention(
                query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
            )
        return attended.transpose(1, 2), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling)


def attend_jointly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    prefix: tuple[torch.Tensor, torch.Tensor],
    scaling: float,
) -> torch.Tensor:
    """Attention of one token per row to its own columns and to a prefix: each by itself, joined by log-sum-exp.

    Shapes are those of `decode_attention_forward` with one token; returns `[rows, heads, 1, width]`.
    """
    rows, heads, _, width = query.shape
    key_heads = key.shape[1]
    # Heads that share keys become more queries of one head, so that no key is repeated.
    packed = query.reshape(rows, key_heads, heads // key_heads, width)
    own = _product(packed.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)).unflatten(0, (rows, key_heads))
    own = torch.add(torch.where(mask, 0.0, float("-inf")), own, alpha=scaling).flatten(0, 1)
    of_own, sum_of_own = (part.unflatten(0, (rows, key_heads)) for part in _attend(own, value.flatten(0, 1)))
    together = packed.transpose(0, 1).flatten(1, 2)  # [key heads, rows x queries, width]: one product for all rows
    scores = _product(together, prefix[0][0].transpose(1, 2)) * scaling
    of_prefix, sum_of_prefix = (part.unflatten(1, (rows, -1)).transpose(0, 1) for part in _attend(scores, prefix[1][0]))
    # The softmax over both gives the prefix the share e^p / (e^p + e^o) of the weight.
    attended = torch.lerp(of_own, of_prefix, torch.sigmoid(sum_of_prefix - sum_of_own))
    return attended.reshape(rows, heads, 1, width).to(query.dtype)


def _attend(scores: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted values `[batch, queries, width]` in fp32, and the log of the weights' sum, `[batch, queries, 1]`."""
    weights = scores.softmax(-1)
    # The largest weight is e^largest / sum. `logsumexp` would pass over the scores six times, 0.1 GB each in a layer.
    total = scores.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log()
    return _product(weights.to(values.dtype), values), total


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Batched matrix product in fp32: scores rounded to 16 bits would shift the weights by some per cent."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.bmm(left, right, out_dtype=torch.float32)
    return torch.bmm(left, right).float()


def _cudnn_serves(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> bool:
    """Whether cuDNN has a kernel: 16 bits, and a card and library that are new enough."""
    if not query.is_cuda or query.dtype == torch.float32:
        return False
    asked = torch.backends.cuda.SDPAParams(query, key, value, mask, 0.0, False, True)
    return bool(torch.backends.cuda.can_use_cudnn_attention(asked))
