"""Costs: by finished jobs, else by committed measurements; starts and weights count."""

import json

import pytest

from formsafe.preflight import stage_costs
from formsafe.preflight.stage_costs import BYTES_PER_SECOND, START_SECONDS, Cost, Work, estimate

RATES = {
    "training": {"soft_prompt": {"tokens_per_second": 2000.0}, "sft": {"tokens_per_second": 1000.0}},
    "answers": {"formsafe": {"tokens_per_second": 500.0}},
    "judge": {"formsafe": {"judgements_per_second": 10.0}},
}
H200 = "NVIDIA H200"


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """A measurement of a model of 8e9 parameters on a GPU, and one on a CPU that says nothing about GPUs."""
    for name, device, rates in (("gpu", H200, RATES), ("small", "cpu (x86_64)", {"training": {}})):
        record = {"measured": {"device": device}, "models": {"llama-3.1-8b": rates}}
        (tmp_path / f"paper_scale_{name}.json").write_text(json.dumps(record))
    monkeypatch.setattr(stage_costs, "MEASUREMENTS", tmp_path)
    return tmp_path / "results/mine"


def start(parameters: float) -> float:
    return START_SECONDS + 2 * parameters / BYTES_PER_SECOND


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Work("adapters", "m", [], units=90, batch=32), 90 * 32 * stage_costs.EXAMPLE_TOKENS / 1000),
        (Work("soft prompts", "m", [], units=23, batch=32), 23 * 32 * stage_costs.EXAMPLE_TOKENS / 2000),
        (Work("answers", "m", [], units=1420, new_tokens=512), 1420 * stage_costs.ANSWER_TOKENS / 500),
        (Work("answers", "m", [], units=1420, new_tokens=10), 1420 * 10 / 500),
        (Work("judge", "m", [], units=1320, new_tokens=512), 132.0),
    ],
)
def test_a_job_costs_its_work_at_the_measured_rate_its_start_and_its_weights(committed, work, seconds):
    same, source = estimate(work, 8e9, committed, None)
    assert same == pytest.approx(start(8e9) + seconds) and source == "measured on NVIDIA H200 with 8B"
    twice, _ = estimate(work, 16e9, committed, H200)
    assert twice == pytest.approx(start(16e9) + 2 * seconds)
    assert estimate(work, 8e9, committed, "cpu (x86_64)") == (None, "not measured")


def test_a_stage_that_was_not_measured_has_no_cost(committed, monkeypatch):
    monkeypatch.setitem(RATES, "judge", {})
    (committed.parents[1] / "paper_scale_gpu.json").write_text("torn")
    assert estimate(Work("judge", "m", [], 1320), 8e9, committed, None) == (None, "not measured")


def test_the_committed_measurements_of_the_repository_are_read():
    work = Work("adapters", "m", [], units=90, batch=32)
    seconds, source = estimate(work, 8.03e9, stage_costs.Path("results/none"), None)
    assert 30 < seconds < 600 and source.startswith("measured on NVIDIA")


def test_without_a_gpu_here_the_one_with_most_finished_jobs_counts(tmp_path):
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


def test_the_table_separates_what_is_known_from_what_is_not():
    known, unknown = (Work("judge", name, ["a", "b"], 10) for name in ("one", "two"))
    written = stage_costs.table([Cost(known, 100.0, "1 finished"), Cost(unknown, None, "not measured")], "Costs")
    assert "> 3 min" in written and "not measured" in written
