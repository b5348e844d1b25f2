"""Keys and values with room to grow: a step writes its own in place instead of copying all that came before."""

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

_BLOCK = 64  # tokens of room that are added at a time


def growing_cache(config: PreTrainedConfig, limit: int) -> DynamicCache:
    """The cache of a model whose layers that attend to everything grow in blocks, to `limit` tokens at the most."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer(limit) if grows(layer) else layer for layer in cache.layers]
    return cache


def grows(layer: object) -> bool:
    """Whether a layer keeps all keys and values; others slide, or hold a state of another kind."""
    return type(layer) is DynamicLayer


class GrowingLayer(DynamicLayer):
    """A layer whose `keys` and `values`, `[rows, heads, tokens, width]`, are the filled part of larger tensors.

    Args:
        limit: the most tokens that the batch will have.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Begin with nothing."""
        super().lazy_initialization(key_states, value_states)
        self._keys, self._values = _Store(), _Store()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values; return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._keys.append(self.keys, key_states, self._limit)
        self.values = self._values.append(self.values, value_states, self._limit)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep some rows, with their room."""
        if self.keys is not None and self.values is not None and self.keys.numel():
            self.keys = self._keys.select(self.keys, beam_idx)
            self.values = self._values.select(self.values, beam_idx)

    def start_from(self, keys: torch.Tensor, values: torch.Tensor, rows: int) -> None:
        """Begin with one row's states, `[1, heads, tokens, width]`, in each of `rows`; the first update copies them."""
        self.lazy_initialization(keys, values)
        self.keys = keys.expand(rows, -1, -1, -1)
        self.values = values.expand(rows, -1, -1, -1)


class _Store:
    """The larger tensor behind a layer's keys or values, and the filled part of it that was handed out last."""

    def __init__(self) -> None:
        self._whole: torch.Tensor | None = None
        self._filled: torch.Tensor | None = None

    def append(self, held: torch.Tensor | None, new: torch.Tensor, limit: int) -> torch.Tensor:
        length = held.shape[-2] if held is not None and held.numel() else 0
        end = length + new.shape[-2]
        # What transformers did to the layer by itself (a crop, for example) is not in the store: copy it in again.
        if self._whole is None or held is not self._filled or end > self._whole.shape[-2]:
            rows, heads, _, width = new.shape
            self._whole = new.new_empty(rows, heads, max(end, min(end + _BLOCK, limit)), width)
            if held is not None and length:
                self._whole[..., :length, :] = held
        self._whole[..., length:end, :] = new
        self._filled = self._whole[..., :end, :]
        return self._filled

    def select(self, held: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        if self._whole is None or held is not self._filled:
            return held.index_select(0, rows.to(held.device))
        self._whole = self._whole.index_select(0, rows.to(held.device))
        self._filled = self._whole[..., : held.shape[-2], :]
        return self._filled
