"""Floors: the arithmetic and bytes that cannot be avoided, by hand."""

import json

import pytest

from formsafe.models.memory import InferencePlan, TrainingPlan
from formsafe.models.shapes import LLAMA_2_7B, LLAMA_3_1_8B
from formsafe.preflight import costs, stage_costs
from formsafe.preflight.stage_costs import Card, Cost, Lengths, Work

H200 = costs.rates_of("NVIDIA H200")
LINEAR = LLAMA_3_1_8B.linear_parameters


@pytest.mark.parametrize(
    "device, name",
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100 40 GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA A10G", "A10"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ],
)
def test_a_card_is_told_by_the_name_that_cuda_gives(device, name):
    assert costs.rates_of(device).name == name


@pytest.mark.parametrize("device", ["NVIDIA GeForce GTX 1080", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"])
def test_an_unknown_card_and_a_slice_of_one_have_no_floor(device):
    assert costs.rates_of(device) is None


def test_training_is_forward_and_backward_to_the_activations():
    plain = costs.training_operations(LLAMA_3_1_8B, 1000, 0, lora_rank=0)
    assert plain == pytest.approx(4 * LINEAR * 1000)
    again = costs.training_operations(LLAMA_3_1_8B, 1000, 0, checkpointing=True, lora_rank=0)
    assert again == pytest.approx(6 * LINEAR * 1000)
    learned = costs.training_operations(LLAMA_3_1_8B, 1000, 700, lora_rank=0) - plain
    assert learned == pytest.approx(4 * 128256 * 4096 * 700)


def test_answering_reads_the_weights_once_a_step_and_the_cache_of_every_row():
    rates = costs.Rates("memory only", 1e30, 1e12)
    common = dict(prompts=100, prompt_tokens=50, new_tokens=10)
    one, all_at_once = (
        costs.answering_seconds(LLAMA_2_7B, rates, token_budget=budget, **common) for budget in (60, 6000)
    )
    weights = 2 * LLAMA_2_7B.parameters
    assert one - all_at_once == pytest.approx((100 - 1) * 10 * weights / 1e12)
    cache = 100 * 10 * 55 * LLAMA_2_7B.cache_bytes
    assert all_at_once == pytest.approx((10 * weights + cache) / 1e12)


def test_a_shared_prefix_is_read_once():
    rates = costs.Rates("arithmetic only", 1e12, 1e30)
    common = dict(prompts=100, prompt_tokens=1500, new_tokens=1, token_budget=10**6)
    saved = costs.answering_seconds(LLAMA_3_1_8B, rates, **common) - costs.answering_seconds(
        LLAMA_3_1_8B, rates, prefix_tokens=1100, **common
    )
    assert saved == pytest.approx(2 * LINEAR * 99 * 1100 / 1e12)


@pytest.mark.parametrize("stage, units, batch", [("soft prompts", 23, 32), ("adapters", 90, 32), ("judge", 1320, 0)])
def test_a_stages_floor_grows_with_its_work_and_its_model(stage, units, batch):
    def floor(units, shape):
        work = Work(stage, "m", ["a/model=m/x"], units, batch, 512)
        return stage_costs.floor(
            work, shape, H200, TrainingPlan(16, False), InferencePlan("none", 500_000), Lengths(), 16
        )

    assert 0 < floor(units, LLAMA_3_1_8B) < floor(2 * units, LLAMA_3_1_8B)
    if batch:
        assert floor(units, LLAMA_2_7B) < floor(units, LLAMA_3_1_8B)


def test_without_a_gpu_in_sight_the_one_with_most_finished_jobs_counts(tmp_path):
    devices = [
        "NVIDIA H100 80GB HBM3",
        "NVIDIA A100-SXM4-40GB",
        "cpu (x86_64)",
        "NVIDIA A100-SXM4-40GB",
        "cpu (x86_64)",
    ]
    for number, device in enumerate([*devices, "cpu (x86_64)"]):
        record = {"device": device, "seconds": 10.0 + number, "generation_seconds": 10.0 + number, "replies": 10}
        (tmp_path / f"{number}.json").write_text(json.dumps(record))
    found = stage_costs.from_finished(Work("answers", "m", [], 20), tmp_path.iterdir(), None)
    assert found == (pytest.approx(2 * 12), 2, "NVIDIA A100-SXM4-40GB")


def test_the_table_tells_what_is_known_from_what_is_not():
    known, unknown = (Work("judge", name, ["a", "b"], 10) for name in ("one", "two"))
    written = stage_costs.table(
        [Cost(known, 100.0, "measured: 1 finished"), Cost(unknown, None, "not measured")], "Costs"
    )
    assert "> 200 s" not in written and "> 3 min" in written
    assert "floor" not in written
    assert "floor" in stage_costs.table([Cost(known, 1.0, "floor, not measured", 5e10)], "Costs")


def test_a_class_of_cards_stands_for_a_gpu_that_is_not_in_sight():
    assert stage_costs.card_of_class(24) == Card("RTX 4090", 24.0, costs.rates_of("RTX 4090"))
    assert stage_costs.card_of_class(48).name == "A100 40GB"
    assert stage_costs.card_of_class("auto").memory_gb == 80
    assert stage_costs.card_of_class(8).name == "RTX 4090"
