"""Studies of controls, mitigations, doses and families: jobs and hours as planned; all arms for real on the demo."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from tests.checkout import ROOT, copy_checkout, planned_jobs, snakemake

# (answers, adapters trained, soft prompts tuned, other jobs of the arms)
STUDIES = {
    "controls": (43, {"train_adapter": 24, "train_jointly": 6}, 9, {"draw_soft_prompt": 6}),
    "mitigations": (43, {"train_adapter": 30}, 6, {"mix_safety": 12, "answer_safety": 1, "project_adapter": 6}),
    "doses": (97, {"train_adapter": 96}, 18, {"draw_training": 8}),
    "families": (63, {"train_adapter": 54}, 27, {"fetch_model": 10, "count_tokens": 9}),
    "formality": (55, {"train_adapter": 54}, 27, {"render_format": 27}),
}
# Seconds on one H200 with Llama-3.1-8B, from committed and earlier measurements of the rates (90 steps of SFT, 22 of
# stage 1, 1,420 answers, 1,320 judgements, one forward pass a prompt), each with 31 seconds for start and weights.
SECONDS = {"adapter": 96, "soft prompt": 41, "answers": 181, "judge": 133, "trace": 45}


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_plans_its_jobs_and_says_its_hours(study):
    if not (ROOT / f"config/{study}.yaml").exists():
        pytest.fail(f"there is no config/{study}.yaml")
    runs, adapters, soft_prompts, others = STUDIES[study]
    plan = planned_jobs(ROOT, "--configfile", f"config/{study}.yaml", "--cores", "2")
    for rule in ("generate_answers", "judge_answers", "trace_refusals", "score_texts", "describe_run"):
        assert plan[rule] == runs, rule
    assert {rule: plan.get(rule) for rule in adapters | others} == adapters | others
    assert plan["tune_soft_prompt"] == soft_prompts
    trained = sum(adapters.values())
    seconds = trained * SECONDS["adapter"] + soft_prompts * SECONDS["soft prompt"]
    seconds += runs * (SECONDS["answers"] + SECONDS["judge"] + SECONDS["trace"])
    text = (ROOT / f"config/{study}.yaml").read_text()
    said = re.search(r"# (\d+) runs, (\d+) adapters, (\d+) soft prompts: about (\d+) GPU hours", text)
    assert said is not None and [int(number) for number in said.groups()[:3]] == [runs, trained, soft_prompts]
    assert int(said[4]) == round(seconds / 3600)


@pytest.mark.parametrize(
    ("configs", "rules"),
    [
        (["mitigations.yaml"], {"select_harmful", "select_safety", "split_corpus"}),
        (["demo.yaml", "over_refusal.yaml"], {"select_harmful", "select_benign", "split_corpus"}),
    ],
)
def test_the_targets_for_the_login_node_fetch_all_that_jobs_will_read(configs, rules):
    """The base model of a projection, the judge of refusals, benign prompts and those of safety examples."""
    files = [f"config/{name}" for name in configs]
    plan = planned_jobs(ROOT, "--configfile", *files, "--cores", "2", "--", "models", "data")
    assert plan["fetch_model"] == 2 and rules <= set(plan)


ARMS = """
study: arms
corpus: {splits: {train: 64, validation: 8, test: 8}}
harmful: {advbench: {count: 8}, beavertails: {count: 8}, directharm4: {count: 8}, gsm_danger: {count: 8}}
safety: {source: beavertails}
models: {before: {label: Before, path: resources/before, parameters: 1.0e+6, quantisation: none, device: cpu}}
judging: {audit: {sample: 0}}
methods:
  random: {label: Random, soft_prompt: random}
  other: {label: Other, soft_prompt: {of: {format: json}}}
  joint: {label: Joint, soft_prompt: joint}
  joint_kept: {label: Joint kept, soft_prompt: joint, soft_prompt_at_inference: true, adapter_of: joint}
  kept: {label: Kept, soft_prompt: tuned, soft_prompt_at_inference: true, adapter_of: promot}
  only: {label: Only, soft_prompt: only}
  mixed: {label: Mixed, safety: {share: 0.1, rendered: true}}
  held: {label: Held, constraint: {weight: 1.0, depth: 5}}
  ptst: {label: PTST, adapter_of: sft, system_prompt_test: Decline what is harmful.}
  safelora: {label: SafeLoRA, adapter_of: sft, projection: {base: before, threshold: 0.5}}
  same: {label: Same steps, same_steps: true}
grid:
  - models: [demo]
    methods: [base, sft, promot, random, other, joint, joint_kept, kept, only, mixed, held, ptst, safelora]
    formats: [list]
    learning_rates: [3.0e-3]
  - {models: [demo], methods: [same], formats: [list], learning_rates: [3.0e-3], examples: [32]}
"""


@pytest.fixture(scope="module")
def checkout(finished_demo, tmp_path_factory) -> Path:
    """A checkout with the demo's model and data, and weights before its alignment: the same with noise."""
    import torch
    from safetensors.torch import load_file, save_file

    checkout = copy_checkout(tmp_path_factory.mktemp("arms") / "formsafe")
    shutil.copytree(finished_demo / "resources", checkout / "resources")
    shutil.copytree(checkout / "resources/demo/model", checkout / "resources/before")
    weights = load_file(checkout / "resources/before/model.safetensors")
    draw = torch.Generator().manual_seed(0)
    noisy = {name: w - 0.02 * torch.randn(w.shape, generator=draw) if w.ndim == 2 else w for name, w in weights.items()}
    save_file(noisy, checkout / "resources/before/model.safetensors", {"format": "pt"})
    (checkout / "arms.yaml").write_text(ARMS)
    return checkout


@pytest.mark.long
def test_every_arm_runs_from_data_to_scores_and_figures_and_a_new_arm_reruns_none(checkout):
    overlay = ["--configfile", "config/demo.yaml", "arms.yaml", "--cores", "2"]
    # The demo's resources are copied without Snakemake's records of them.
    made = ["--rerun-triggers", "mtime", "--quiet", "rules"]
    figures = [f"results/arms/figures/{name}_demo.svg" for name in ("controls", "pareto", "first_token")]
    snakemake(checkout, *overlay, *made, "--", *figures, "results/arms/verdict.json")
    with open(checkout / "results/arms/summary.csv", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["metric"] == "asr"]
    assert len({row["method"] for row in rows}) == 14
    assert all(0 <= float(row["value"]) <= 1 for row in rows)
    (checkout / "arms.yaml").write_text(
        ARMS.replace("safelora]", "safelora, added]").replace(
            "  same:", "  added: {label: Added, constraint: {weight: 2.0, depth: 3}}\n  same:"
        )
    )
    plan = planned_jobs(checkout, *overlay, "--rerun-triggers", "mtime", "params", "input", "code", "--", *figures)
    one = {"train_adapter", "generate_answers", "judge_answers", "score_texts", "trace_refusals"}
    assert {rule: count for rule, count in plan.items() if rule in one} == dict.fromkeys(one, 1)
    assert set(plan) <= one | {"summarise", "compare_judges", "plot_figures"}
