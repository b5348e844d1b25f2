"""What both judging scripts do first, with a job as Snakemake gives it to them."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from formsafe.scoring import job as module
from formsafe.scoring.job import start_judging
from tests.conftest import ROOT

JUDGE = {"model": "m", "prompt": "p", "generation": {"max_new_tokens": 8}}
MODEL = {"path": "/m", "label": "M", "parameters": 1e5, "quantisation": "none", "device": "cpu"}


def start(monkeypatch, gpu=0, tracked=JUDGE, **configured):
    """The judge of a job, and the devices that were claimed for it."""
    claimed = []
    monkeypatch.setattr(module, "claim_device", claimed.append)
    job = SimpleNamespace(
        config={"judges": {"policy": {**JUDGE, **configured}}, "models": {"m": MODEL}},
        params=SimpleNamespace(name="policy", judge=tracked, model=MODEL, gpu_memory_gb=24, code="c"),
        input=SimpleNamespace(model=["model.json"], prompt=["prompt.txt"]),
        resources={"gpu": gpu} if gpu else {},
    )
    return start_judging(job), claimed


def test_a_judge_starts_with_all_that_its_job_says(monkeypatch):
    stage, claimed = start(monkeypatch)
    assert (stage.name, stage.gpu_memory_gb, stage.code) == ("policy", 24, "c")
    assert (stage.manifest, stage.template, stage.model.label) == ("model.json", "prompt.txt", "M")
    assert stage.judge.generation.max_new_tokens == 8 and claimed == []


@pytest.mark.parametrize(("configured", "threshold"), [({}, 3), ({"threshold": 4}, 4)])
def test_the_threshold_is_the_configured_one(monkeypatch, configured, threshold):
    assert start(monkeypatch, **configured)[0].judge.threshold == threshold


def test_a_gpu_is_claimed_for_a_job_that_has_one(monkeypatch):
    assert start(monkeypatch, gpu=1)[1] == ["cpu"]


def test_a_card_is_claimed_before_torch_is_imported():
    """PyTorch fixes at its import which cards it sees."""
    code = "import sys, formsafe.scoring.job; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "workflow" / "scripts")})
