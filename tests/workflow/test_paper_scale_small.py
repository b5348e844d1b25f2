"""The benchmark of the paper's scale on shapes that a CPU computes in seconds: it measures what it says."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def small_result(tmp_path_factory):
    out = tmp_path_factory.mktemp("scale") / "small.json"
    command = [sys.executable, "benchmarks/paper_scale.py", "--small", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text())


def test_all_stages_run_beside_the_ways_people_use_now(small_result):
    stages = small_result["models"]["small"]
    assert set(stages) == {"training", "answers", "judge"}
    trainings = stages["training"]
    assert set(trainings) == {"soft_prompt", "sft", "promot", "trl_sft", "trl_sft_without_checkpointing"}
    assert all("tokens_per_second" in training for training in trainings.values()), trainings
    assert set(stages["answers"]) == {"formsafe", "generate_batch_1", "generate_batch_8"}
    assert set(stages["judge"]) == {"formsafe", "without_prefix_reuse"}
    assert stages["answers"]["formsafe"]["batches"] == 1, "both sets of prompts share a plan"
    judged = stages["judge"]
    assert judged["formsafe"]["tokens"] == judged["without_prefix_reuse"]["tokens"] == 24 * 8


def test_the_result_names_its_command_and_versions_and_the_start_of_a_job(small_result):
    assert small_result["measured"]["command"] == "python benchmarks/paper_scale.py --small --out small.json"
    assert {"torch", "trl", "accelerate"} <= set(small_result["measured"]["versions"])
    assert small_result["startup_seconds"] > 0


def test_nothing_is_projected_from_a_cpu(small_result):
    assert small_result["whole_paper"] is None
    assert small_result["measured"]["peak_gpu_memory_bytes"] is None


def test_a_projection_is_arithmetic_over_the_papers_jobs():
    import paper_scale

    one = {"training_seconds": 20.0, "steps": 10, "validation_seconds": 3.0}
    stages = {
        "training": {"soft_prompt": one, "sft": one, "promot": one},
        "answers": {"formsafe": {"generation_seconds": 142.0, "replies": 1420}},
        "judge": {"formsafe": {"judgements_per_second": 22.0}},
    }
    found = paper_scale.project({"llama-3.1-8b": stages, "llama-2-7b": stages}, 12.0)
    by_hand = 6 * (23 * 2 + 3) + 16 * (90 * 2 + 3) + 18 * 142 + 18 * 1320 / 22 + 58 * 12
    assert found["without"] == "reading the weights, 890 GB over 58 jobs"
    assert found["together"] == pytest.approx(by_hand / 60, abs=0.06)
    assert sum(jobs["answers"] for jobs in paper_scale.PAPER.values()) == 18


def test_results_are_joined_with_those_of_the_same_device_only(tmp_path):
    import paper_scale

    earlier = tmp_path / "earlier.json"
    kept = {"measured": {"device": "a"}, "gpu_memory_gb": "auto", "models": {"x": {"judge": 1}}}
    earlier.write_text(json.dumps(kept))

    def joined(device):
        measured = {"device": device, "peak_gpu_memory_bytes": None}
        new = {"measured": measured, "gpu_memory_gb": "auto", "models": {"y": {"judge": 2}}}
        return paper_scale.joined(new, earlier)["models"]

    assert joined("a") == {"x": {"judge": 1}, "y": {"judge": 2}}
    assert joined("b") == {"y": {"judge": 2}}


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
def test_a_model_made_on_the_device_is_the_model_that_loading_gives(tmp_path, quantisation):
    import torch
    from paper_scale import SMALL
    from scale_models import build_model, write_folder

    from formsafe.models.load import Placement, load_model

    folder = write_folder(tmp_path / "model", SMALL["small"])
    build_model(folder, Placement("cpu", "float32", "none", "sdpa")).save_pretrained(folder)
    placement = Placement("cpu", "float32", quantisation, "sdpa")
    made, loaded = build_model(folder, placement), load_model(folder, placement)
    ids = torch.arange(30)[None] + 20
    with torch.no_grad():
        assert torch.equal(made(ids).logits, loaded(ids).logits)
    assert made.name_or_path == str(folder)
    assert getattr(made, "is_loaded_in_4bit", False) == (quantisation == "nf4")


def test_texts_have_the_tokens_that_were_asked_for(tmp_path):
    from paper_scale import SMALL
    from scale_models import SUMMARIES, TOKENS_PER_WORD, answer_length, text, write_folder, write_training_data

    from formsafe.core.files import read_jsonl
    from formsafe.models.load import load_tokenizer

    shape = SMALL["small"]
    tokenizer = load_tokenizer(write_folder(tmp_path / "model", shape))
    assert len(tokenizer) == shape.vocabulary
    encoded = tokenizer(text(random.Random(0), 77, shape.vocabulary), add_special_tokens=False)["input_ids"]
    assert len(encoded) == 77 and min(encoded) > 9
    rows = read_jsonl(write_training_data(tmp_path / "train.jsonl", 300, shape))
    lengths = [len(row["messages"][1]["content"].split()) for row in rows]
    assert abs(sum(lengths) / len(lengths) - TOKENS_PER_WORD * SUMMARIES[0]) < 4
    drawn = [answer_length([number], 512) for number in range(2000)]
    assert drawn == [answer_length([number], 512) for number in range(2000)]
    assert 0.05 < sum(length == 512 for length in drawn) / 2000 < 0.15 and min(drawn) >= 20
