"""Buffers hold what transformers' own cache holds, in place."""

import torch
from transformers import DynamicCache, LlamaConfig

from formsafe.generation.buffers import GrowingLayer, growing_cache

CONFIG = LlamaConfig(num_hidden_layers=2, hidden_size=16, num_attention_heads=2)


def states(rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 2, tokens, 8), torch.randn(rows, 2, tokens, 8)


def assert_same(one: DynamicCache, other: DynamicCache) -> None:
    assert one.get_seq_length() == other.get_seq_length()
    assert one.get_mask_sizes(1, 0) == other.get_mask_sizes(1, 0)
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        assert torch.equal(mine.keys, theirs.keys) and torch.equal(mine.values, theirs.values)


def test_it_holds_what_a_dynamic_cache_holds():
    """Also after rows have left, and after the library cut something off."""
    torch.manual_seed(0)
    caches = growing_cache(CONFIG, 157), DynamicCache(config=CONFIG)
    rows = 4
    for step, tokens in enumerate([7, *[1] * 150]):
        for layer in range(2):
            new = states(rows, tokens)
            for cache in caches:
                returned = cache.update(*new, layer)
                assert torch.equal(returned[0], cache.layers[layer].keys)
        if step in (3, 60, 70):
            kept = torch.arange(rows)[1:]
            rows -= 1
            for cache in caches:
                cache.reorder_cache(kept)
        if step == 100:
            for cache in caches:
                cache.crop(-3)
        assert_same(*caches)


def test_a_row_s_states_begin_every_row():
    torch.manual_seed(0)
    layer, truth = GrowingLayer(50), DynamicCache(config=CONFIG)
    kept, new = states(1, 9), states(3, 2)
    layer.start_from(*kept, 3)
    assert layer.get_seq_length() == 9
    for part in (tuple(state.repeat(3, 1, 1, 1) for state in kept), new):
        truth.update(*part, 0)
    before = kept[0].clone()
    keys, values = layer.update(*new)
    assert torch.equal(keys, truth.layers[0].keys) and torch.equal(values, truth.layers[0].values)
    assert torch.equal(kept[0], before), "the next batch starts from it, too"


def test_nothing_is_copied_and_nothing_allocated_beyond_the_limit():
    layer, places = GrowingLayer(200), set()
    layer.update(*states(2, 30))
    for _ in range(170):
        keys, _ = layer.update(*states(2, 1))
        places.add(keys.untyped_storage().data_ptr())
        assert keys.untyped_storage().nbytes() == 2 * 2 * 200 * 8 * 4
    layer.reorder_cache(torch.tensor([1]))
    assert {layer.keys.untyped_storage().data_ptr()} == places
