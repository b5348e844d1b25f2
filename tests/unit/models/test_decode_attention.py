"""Attention of the decoding steps is ordinary attention, with a shared prefix read once and without one."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from formsafe.models.decode_attention import attend_jointly, decode_attention_forward


def states(rows, heads, tokens, width=16):
    return torch.randn(rows, heads, tokens, width)


class Layer(torch.nn.Module):
    """What the attention asks a layer for."""

    layer_idx, is_causal = 1, True

    def __init__(self, groups):
        super().__init__()
        self.num_key_value_groups = groups


@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("spread", [1.0, 8.0])
@pytest.mark.parametrize("prefix_tokens", [1, 50])
def test_two_parts_joined_by_their_log_sum_exp_are_one_attention(heads, key_heads, spread, prefix_tokens):
    torch.manual_seed(0)
    rows, columns = 5, 9
    query, key, value = (
        spread * states(rows, heads, 1),
        states(rows, key_heads, columns),
        states(rows, key_heads, columns),
    )
    prefix = (states(1, key_heads, prefix_tokens), states(1, key_heads, prefix_tokens))
    mask = torch.rand(rows, 1, 1, columns) < 0.6
    mask[..., -1] = True  # a row's newest token
    found = attend_jointly(query, key, value, mask, prefix, 0.25)
    pairs = zip(prefix, (key, value), strict=True)
    whole = [torch.cat([shared.expand(rows, -1, -1, -1), own], dim=2) for shared, own in pairs]
    seen = torch.cat([torch.ones(rows, 1, 1, prefix_tokens, dtype=torch.bool), mask], dim=3)
    truth = scaled_dot_product_attention(query, *whole, attn_mask=seen, scale=0.25, enable_gqa=True)
    assert (found - truth).norm() / truth.norm() < 1e-6


def test_scores_are_written_three_times():
    """As products, scaled and masked, and as weights: with 500 rows each further time is 0.1 GB a layer and step."""
    rows, heads, key_heads, columns, prefix_tokens = 3, 6, 2, 11, 17
    written = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and not operation.is_view:
                written.append(result.numel())
            return result

    query, key = states(rows, heads, 1), states(rows, key_heads, columns)
    prefix, mask = states(1, key_heads, prefix_tokens), torch.ones(rows, 1, 1, columns, dtype=torch.bool)
    with Sizes():
        attend_jointly(query, key, key, mask, (prefix, prefix), 0.25)
    assert [written.count(rows * heads * tokens) for tokens in (columns, prefix_tokens)] == [3, 3]


def test_a_token_that_is_alone_sees_the_prefix_and_a_prompt_does_too():
    """One token and several go different ways to the same attention."""
    torch.manual_seed(0)
    rows, tokens = 3, 4
    query, key, value = states(rows, 4, tokens), states(rows, 2, tokens), states(rows, 2, tokens)
    prefix = [(states(1, 2, 7), states(1, 2, 7)) for _ in range(2)]
    mask = torch.ones(rows, 1, tokens, tokens, dtype=torch.bool).tril()
    whole, none = decode_attention_forward(Layer(2), query, key, value, mask, prefix=prefix)
    last, _ = decode_attention_forward(Layer(2), query[:, :, -1:], key, value, mask[:, :, -1:], prefix=prefix)
    assert whole.shape == (rows, tokens, 4, 16) and none is None
    torch.testing.assert_close(last, whole[:, -1:], rtol=1e-5, atol=1e-6)
    other, _ = decode_attention_forward(Layer(2), query[:, :, -1:], key, value, mask[:, :, -1:], prefix=prefix[::-1])
    assert not torch.allclose(other, last), "each layer has a prefix of its own"


def test_without_a_prefix_it_is_sdpa():
    torch.manual_seed(0)
    query, key, value = states(3, 4, 1), states(3, 2, 6), states(3, 2, 6)
    mask = torch.tensor([[0, 0, 1, 1, 1, 0]] * 3, dtype=torch.bool)[:, None, None]
    found, _ = decode_attention_forward(Layer(2), query, key, value, mask)
    truth = scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(found, truth.transpose(1, 2))
