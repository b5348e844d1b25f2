"""Keys and values in buffers with room for the whole answer: a step writes its own in place and copies nothing."""

from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


def growing_cache(config: PreTrainedConfig, limit: int) -> DynamicCache:
    """The cache of a model whose layers that attend to everything have room for `limit` tokens."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer(limit) if grows(layer) else layer for layer in cache.layers]
    return cache


def grows(layer: object) -> bool:
    """Whether a layer keeps all keys and values; others slide, or hold a state of another kind."""
    return type(layer) is DynamicLayer


class GrowingLayer(DynamicLayer):
    """A layer whose `keys` and `values`, `[rows, heads, tokens, width]`, are the filled part of larger tensors.

    Args:
        limit: the most tokens that a row will have.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._stores: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values; return all of them."""
        new = (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(*new)
            # `empty`: memory that no token reaches is never touched, so on a CPU it is never taken.
            self._stores = [states.new_empty(*states.shape[:2], self._limit, states.shape[3]) for states in new]
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        for store, states in zip(self._stores, new, strict=True):
            store[..., start:end, :] = states
        return self._fill(end)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep some rows, in place."""
        length = self.get_seq_length()
        if length:
            self._stores = [_keep_rows(store, beam_idx, length) for store in self._stores]
            self._fill(length)

    def start_from(self, keys: torch.Tensor, values: torch.Tensor, rows: int) -> None:
        """Begin with one row's states, `[1, heads, tokens, width]`, in each of `rows`."""
        self.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))

    def _fill(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (store[..., :length, :] for store in self._stores)
        return self.keys, self.values


def _keep_rows(store: torch.Tensor, rows: torch.Tensor, length: int) -> torch.Tensor:
    kept = store[: len(rows)]
    kept[:, :, :length] = store[rows.to(store.device), :, :length]  # the right side is a copy: rows may overlap
    return kept


@dataclass
class Window:
    """Which part of the static buffers a forward pass writes and sees.

    While prompts are read, `first` is the first row of the piece that is read. In a step, `column` (a tensor on the
    device, since a captured graph reads it at every replay) is written and `reach` columns are seen.
    """

    rows: int
    limit: int
    column: torch.Tensor
    first: int = 0
    reach: int = 0
    reading: bool = True


class StaticLayer(DynamicLayer):
    """A layer whose buffers keep their addresses for a whole batch, as a captured graph needs."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self._window = window
        self._stores: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write keys and values at the window's place; return what the window sees."""
        window, new = self._window, (key_states, value_states)
        if not self._stores:
            # Zeros: a column that is masked still enters a product, and 0 x NaN would be NaN.
            self._stores = [
                states.new_zeros(window.rows, states.shape[1], window.limit, states.shape[3]) for states in new
            ]
        for store, states in zip(self._stores, new, strict=True):
            if window.reading:
                store[window.first : window.first + len(states), :, : states.shape[2]] = states
            else:
                store[: window.rows].index_copy_(2, window.column, states)
        if window.reading:
            return new
        keys, values = (store[: window.rows, :, : window.reach] for store in self._stores)
        return keys, values

    def keep(self, rows: torch.Tensor, length: int) -> None:
        """Move some rows to the front, in place."""
        for store in self._stores:
            _keep_rows(store, rows, length)
