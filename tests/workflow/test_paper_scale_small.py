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
    command = [sys.executable, "benchmarks/paper_scale.py", "--small", "--seconds", "9999", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text())


def test_all_stages_run_beside_the_ways_people_use_now(small_result):
    from scale_stages import STAGES

    stages = small_result["models"]["small"]
    assert list(stages) == list(STAGES)
    assert not [stage for stage in stages.values() if "failed" in stage], stages
    for stage in ("soft_prompt", "sft", "promot", "trl", "generate_batch_1", "generate_batch_8", "answers", "judge"):
        assert stages[stage]["tokens_per_second"] > 0
    assert stages["answers"]["batches"] == 1, "both sets of prompts share a plan"
    assert stages["judge"]["tokens"] == stages["judge_without_prefix"]["tokens"] == 24 * 8
    assert stages["loading"]["bfloat16_seconds"] > 0
    assert {"git_commit", "torch"} <= set(stages["sft"])
    assert set(small_result["ratios"]["small"]) == {
        "training_against_trl",
        "answers_against_generate_batch_1",
        "answers_against_generate_batch_8",
        "judge_with_prefix_against_without",
    }


def test_the_result_names_its_command_and_versions_and_the_start_of_a_job(small_result):
    assert (
        small_result["measured"]["command"]
        == "python benchmarks/paper_scale.py --small --seconds 9999 --out small.json"
    )
    assert {"torch", "trl", "accelerate"} <= set(small_result["measured"]["versions"])
    assert small_result["startup_seconds"] > 0


def test_nothing_is_projected_from_a_cpu(small_result):
    assert small_result["whole_paper"] is None
    assert small_result["measured"]["peak_gpu_memory_bytes"] is None


def test_a_projection_is_arithmetic_over_the_papers_jobs_with_starts_and_loading():
    import scale_projection

    one = {"training_seconds": 20.0, "steps": 10, "validation_seconds": 3.0}
    stages = {
        **dict.fromkeys(("soft_prompt", "sft", "promot"), one),
        "answers": {"generation_seconds": 142.0, "replies": 1420},
        "judge": {"judgements_per_second": 22.0},
        "loading": {"nf4_seconds": 30.0, "bfloat16_seconds": 10.0},
    }
    found = scale_projection.project({"llama-3.1-8b": stages, "llama-2-7b": stages}, 12.0)
    by_hand = 6 * (23 * 2 + 3) + 16 * (90 * 2 + 3) + 18 * 142 + 18 * 1320 / 22 + 58 * 12 + 22 * 30 + 36 * 10
    assert found["together"] == pytest.approx(by_hand / 60, abs=0.06)
    assert sum(jobs["answers"] for jobs in scale_projection.PAPER.values()) == 18
    for missing in (
        {},
        {"llama-3.1-8b": stages},
        {"llama-3.1-8b": stages, "llama-2-7b": {**stages, "sft": {"failed": ""}}},
    ):
        assert scale_projection.project(missing, 12.0) is None


def test_results_are_joined_with_those_of_the_same_device_only(tmp_path):
    from scale_projection import joined

    earlier = tmp_path / "earlier.json"
    kept = {"measured": {"device": "a"}, "gpu_memory_gb": "auto", "models": {"x": {"judge": {"n": 1}, "trl": {"n": 1}}}}
    earlier.write_text(json.dumps(kept))

    def together(device, models):
        measured = {"device": device, "peak_gpu_memory_bytes": None}
        new = {"measured": measured, "gpu_memory_gb": "auto", "models": models, "startup_seconds": 1.0}
        return joined(new, earlier)["models"]

    old = kept["models"]["x"]
    assert together("a", {"y": {"judge": {"n": 2}}}) == {"x": old, "y": {"judge": {"n": 2}}}
    assert together("b", {"y": {"judge": {"n": 2}}}) == {"y": {"judge": {"n": 2}}}
    assert together("a", {"x": {"judge": {"n": 3}}}) == {"x": {**old, "judge": {"n": 3}}}
    assert together("a", {"x": {"judge": {"failed": "y"}, "sft": {"failed": "y"}}}) == {
        "x": {**old, "sft": {"failed": "y"}}
    }


def test_a_stage_that_fails_is_noted_and_the_next_goes_on():
    import paper_scale

    class Broken:
        def run(self, stage):
            raise RuntimeError(f"{stage} is broken\nand more")

    found = paper_scale.attempted(Broken(), "judge")
    assert found["failed"] == "RuntimeError: judge is broken" and "torch" in found


def test_a_jobs_start_finds_packages_on_the_callers_path(tmp_path, monkeypatch):
    import paper_scale

    seen = []
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(paper_scale.subprocess, "run", lambda command, env, check: seen.append(env["PYTHONPATH"]))
    paper_scale.startup_seconds("cpu")
    assert seen[0].split(os.pathsep) == [str(ROOT / "workflow" / "scripts"), str(tmp_path)]


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
