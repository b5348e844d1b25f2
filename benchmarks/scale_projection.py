"""Results of several runs become one; ratios between ways; minutes of the whole paper from what was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from formsafe.core.files import read_json

# Jobs of the paper's grid by model (config/config.yaml), and what each does.
PAPER = {
    "llama-3.1-8b": {"soft_prompt": 3, "sft": 3, "promot": 7, "answers": 11, "judge": 18},
    "llama-2-7b": {"soft_prompt": 3, "sft": 3, "promot": 3, "answers": 7, "judge": 0},
}
PAPER_STEPS, PAPER_PROMPTS, PAPER_JUDGED = {"soft_prompt": 23, "sft": 90, "promot": 90}, 1420, 1320
# What is compared: name, and the two stages' places of a rate.
RATIOS = {
    "training_against_trl": (("sft", "tokens_per_second"), ("trl", "tokens_per_second")),
    "answers_against_generate_batch_1": (("answers", "tokens_per_second"), ("generate_batch_1", "tokens_per_second")),
    "answers_against_generate_batch_8": (("answers", "tokens_per_second"), ("generate_batch_8", "tokens_per_second")),
    "judge_with_prefix_against_without": (
        ("judge", "judgements_per_second"),
        ("judge_without_prefix", "judgements_per_second"),
    ),
}


def joined(result: dict[str, Any], earlier: Path) -> dict[str, Any]:
    """Add what an earlier result of the same device has and this one lacks, ratios between stages, and the projection
    where all that it needs was measured on a GPU."""
    kept = read_json(earlier) if earlier.exists() else {}
    devices = [found.get("measured", {}).get("device") for found in (kept, result)]
    if devices[0] == devices[1] and kept.get("gpu_memory_gb") == result["gpu_memory_gb"]:
        for name, stages in kept["models"].items():
            own = result["models"].get(name, {})
            # a stage that failed now keeps what it had
            failed = {
                stage for stage in own if "failed" in own[stage] and "failed" not in stages.get(stage, own[stage])
            }
            result["models"][name] = stages | {stage: own[stage] for stage in own if stage not in failed}
    on_gpu = result["measured"]["peak_gpu_memory_bytes"] is not None
    ratios = {name: ratios_of(stages) for name, stages in result["models"].items()}
    whole = project(result["models"], result["startup_seconds"]) if on_gpu else None
    return {**result, "ratios": ratios, "whole_paper": whole}


def newest(kept: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Both runs' stages: the later figures, but where only the earlier run has some, those."""
    failed = {stage for stage, figures in found.items() if "failed" in figures and stage in kept}
    return {**kept, **{stage: figures for stage, figures in found.items() if stage not in failed}}


def ratios_of(stages: Mapping[str, Any]) -> dict[str, float]:
    """How many times faster ours is, for each pair of ways that was measured."""
    found = {}
    for name, places in RATIOS.items():
        ours, theirs = (stages.get(stage, {}).get(key) for stage, key in places)
        if ours and theirs:
            found[name] = round(ours / theirs, 2)
    return found


def project(found: Mapping[str, Any], startup: float) -> dict[str, Any] | None:
    """Minutes of the whole paper from the measured stages, every job's start and the loading of its weights from the
    disk of the machine; None where a stage is missing."""
    needed = {"soft_prompt", "sft", "promot", "answers", "loading"}
    for name, jobs in PAPER.items():
        stages = found.get(name, {})
        wanted = needed | ({"judge"} if jobs["judge"] else set())
        if any(stage not in stages or "failed" in stages[stage] for stage in wanted):
            return None
    starts = sum(sum(jobs.values()) for jobs in PAPER.values())
    minutes = {"job starts": starts * startup / 60}
    for name, jobs in PAPER.items():
        stages = found[name]
        trainings = sum(jobs[stage] for stage in PAPER_STEPS)
        loading = trainings * stages["loading"]["nf4_seconds"]
        loading += (jobs["answers"] + jobs["judge"]) * stages["loading"]["bfloat16_seconds"]
        minutes[f"{name} loading"] = loading / 60
        for stage, steps in PAPER_STEPS.items():
            one = stages[stage]
            seconds = one["training_seconds"] / one["steps"] * steps + one["validation_seconds"]
            minutes[f"{name} {stage}"] = jobs[stage] * seconds / 60
        each = stages["answers"]["generation_seconds"] / stages["answers"]["replies"]
        minutes[f"{name} answers"] = jobs["answers"] * PAPER_PROMPTS * each / 60
        if jobs["judge"]:
            minutes[f"{name} judge"] = jobs["judge"] * PAPER_JUDGED / stages["judge"]["judgements_per_second"] / 60
    return {
        "minutes": {stage: round(value, 2) for stage, value in minutes.items()},
        "together": round(sum(minutes.values()), 1),
    }
