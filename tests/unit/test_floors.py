"""Floors: the arithmetic and bytes that cannot be avoided, by hand."""

import sys
from pathlib import Path

import pytest

from formsafe.models.shapes import LLAMA_2_7B, LLAMA_3_1_8B

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import scale_floors as floors

LINEAR = LLAMA_3_1_8B.linear_parameters


def test_training_is_forward_and_backward_to_the_activations():
    plain = floors.training_operations(LLAMA_3_1_8B, 1000, 0, lora_rank=0)
    assert plain == pytest.approx(4 * LINEAR * 1000)
    again = floors.training_operations(LLAMA_3_1_8B, 1000, 0, checkpointing=True, lora_rank=0)
    assert again == pytest.approx(6 * LINEAR * 1000)
    learned = floors.training_operations(LLAMA_3_1_8B, 1000, 700, lora_rank=0) - plain
    assert learned == pytest.approx(4 * 128256 * 4096 * 700)


def test_answering_reads_the_weights_once_a_step_and_the_cache_of_every_row():
    rates = floors.Rates("memory only", 1e30, 1e12)
    common = dict(prompts=100, prompt_tokens=50, new_tokens=10)
    one, all_at_once = (
        floors.answering_seconds(LLAMA_2_7B, rates, token_budget=budget, **common) for budget in (60, 6000)
    )
    weights = 2 * LLAMA_2_7B.parameters
    assert one - all_at_once == pytest.approx((100 - 1) * 10 * weights / 1e12)
    cache = 100 * 10 * 55 * LLAMA_2_7B.cache_bytes
    assert all_at_once == pytest.approx((10 * weights + cache) / 1e12)


def test_a_shared_prefix_is_read_once():
    rates = floors.Rates("arithmetic only", 1e12, 1e30)
    common = dict(prompts=100, prompt_tokens=1500, new_tokens=1, token_budget=10**6)
    saved = floors.answering_seconds(LLAMA_3_1_8B, rates, **common) - floors.answering_seconds(
        LLAMA_3_1_8B, rates, prefix_tokens=1100, **common
    )
    assert saved == pytest.approx(2 * LINEAR * 99 * 1100 / 1e12)
