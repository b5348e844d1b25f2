"""Causal attention inside each example of a flattened batch: no pad tokens, and no example sees another."""

import inspect
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "formsafe_varlen"
# Decoders whose attention is the shared interface with rotary positions; others are trained with padded batches.
ARCHITECTURES = {"llama", "mistral", "qwen2", "qwen3", "olmo2", "smollm3", "granite"}


def flattens(config: Any) -> bool:
    """Whether a loaded model may take examples one after another in a row: its attention keeps them apart, and it has
    no layers besides (convolutions, recurrent states) that would let an example see the one before."""
    apart = config._attn_implementation in (NAME, "flash_attention_2")
    return apart and config.get_text_config().model_type in ARCHITECTURES


def supports(config: Any) -> bool:
    """Whether plain causal attention is all that the architecture of `config` asks for (no windows, no soft caps)."""
    text = config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    plain = getattr(text, "attn_logit_softcapping", None) is None and layers == {"full_attention"}
    windowed = getattr(text, "sliding_window", None) is not None and getattr(text, "use_sliding_window", True)
    return plain and not windowed and text.model_type in ARCHITECTURES


def varlen_attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    lengths: tuple[int, ...] | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each of the examples that stand one after another in the sequence: an attention of transformers.

    Args:
        module: unused, as is `attention_mask`: there is nothing to mask.
        query: `[1, heads, tokens, width]`; `key` and `value` likewise with their own number of heads.
        lengths: tokens of each example; their sum is `tokens`. None: one example.
        cu_seq_lens_q: `[examples + 1]`, int32: where the examples begin and end, for the kernel of GPUs.

    Returns:
        `[1, tokens, heads, width]` and None in the place of attention weights.
    """
    assert len(query) == 1, "padded rows would see their padding here"
    dropout: float = kwargs.get("dropout", 0.0)
    lengths = lengths or (query.shape[2],)
    if cu_seq_lens_q is not None and not dropout and _has_kernel(query):
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        bounds, longest, causal = cu_seq_lens_q, max(lengths), (-1, 0)  # all before a token, none behind it
        # PyTorch 2.11 shares keys between heads without being told, and does not know the argument.
        known = inspect.signature(varlen_attn).parameters
        shared: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in known else {}
        attended = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=causal, **shared)
        assert isinstance(attended, torch.Tensor)
        return attended.unsqueeze(0), None
    by_example = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    parts = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in zip(*by_example, strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _has_kernel(query: torch.Tensor) -> bool:
    """PyTorch's own flash attention for examples of different lengths: 16 bits, compute capability 8.0 and up."""
    half, width = query.dtype in (torch.bfloat16, torch.float16), query.shape[-1]
    fits = query.is_cuda and half and width % 8 == 0 and width <= 256
    return fits and torch.cuda.get_device_capability(query.device) >= (8, 0)
