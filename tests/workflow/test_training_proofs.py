"""Training against the outside world: TRL, kills, golden losses, and the scripts as a job runs them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from formsafe.core.files import read_json, write_json
from formsafe.training.stages import Inputs, train_adapter, tune_soft_prompt
from tests.conftest import ROOT
from tests.tiny import steeper, write_tiny_model
from tests.training_cases import adapter_settings, job, soft_prompt_settings

GOLDEN = ROOT / "tests" / "golden" / "training_losses.json"


def losses(folder: Path) -> list[dict[str, float]]:
    with open(folder / "loss.csv", newline="") as lines:
        return [
            {name: float(row[name]) for name in ("loss", "format_loss", "content_loss", "interior_loss")}
            for row in csv.DictReader(lines)
        ]


def test_sft_follows_trls_trainer_step_by_step(tiny_model, tmp_path):
    """Same data, seed and settings: the loss of each of 20 steps (no dropout: a padded batch draws another mask)."""
    trl = pytest.importorskip("trl")
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    inputs = Inputs(**job(tmp_path, tiny_model, rows=80))
    settings = adapter_settings(warmup_steps=3)
    train_adapter(inputs, settings, 1e-2)

    rows = [json.loads(line) for line in Path(inputs.train).read_text().splitlines()]
    pairs = [{"prompt": row["messages"][:1], "completion": row["messages"][1:]} for row in rows]
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    set_seed(0)
    lora = LoraConfig(r=4, lora_alpha=4, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path / "trl"),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_train_epochs=2,
        learning_rate=1e-2,
        lr_scheduler_type="cosine",
        warmup_steps=3,
        weight_decay=0.0,
        optim="adamw_torch",
        max_length=512,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        seed=0,
        data_seed=0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = trl.SFTTrainer(
        model=get_peft_model(model, lora),
        args=arguments,
        train_dataset=Dataset.from_list(pairs),
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )
    trainer.train()
    theirs = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    ours = [row["loss"] for row in losses(inputs.folder)]
    assert len(ours) == len(theirs) == 20
    assert ours[0] - ours[-1] > 0.1, "a loss that does not move proves nothing"
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-4


def test_golden_losses_of_sft_and_both_stages(tmp_path):
    """A trajectory on record, so that no change of code or versions shifts training unseen.

    FORMSAFE_WRITE_GOLDEN=1 writes the record anew; look at the difference before committing it. Machines differ in the
    last bits, so the tolerance is wide for rounding and narrow for any change of the method.
    """
    model = steeper(write_tiny_model(tmp_path / "model"))
    stage_1 = Inputs(**job(tmp_path / "stage 1", model, rows=40))
    tune_soft_prompt(stage_1, soft_prompt_settings(epochs=2.0))
    stage_2, sft = (Inputs(**job(tmp_path / name, model, rows=40)) for name in ("stage 2", "sft"))
    train_adapter(stage_2, adapter_settings(dropout=0.01), 3e-2, stage_1.folder)
    train_adapter(sft, adapter_settings(dropout=0.01), 3e-2)
    found = {Path(inputs.folder).parent.name: losses(Path(inputs.folder)) for inputs in (stage_1, stage_2, sft)}
    if os.environ.get("FORMSAFE_WRITE_GOLDEN"):
        write_json(GOLDEN, found)
    golden = read_json(GOLDEN)
    assert found.keys() == golden.keys()
    for stage, rows in golden.items():
        assert len(rows) == 10
        for step, (expected, row) in enumerate(zip(rows, found[stage], strict=True), start=1):
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, abs=1e-3), f"{stage}, step {step}: {name}"
        assert min(row["loss"] for row in rows) < rows[0]["loss"] - 0.1, stage


def test_killed_trainings_continue_to_the_identical_adapter():
    script = ROOT / "benchmarks" / "training_kills.py"
    ended = subprocess.run(
        [sys.executable, str(script), "--kills", "20", "--seed", "1", "--check"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(ended.stdout)
    assert result["kills"] == 20 and result["starts_from_a_checkpoint"] > 0 and result["different"] == []
