"""The start of a training's job: what is imported when, and what the stages are given."""

import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from formsafe.config.settings.training import TrainingSettings
from formsafe.training import job as module
from formsafe.training.arm import Arm
from tests.conftest import ROOT
from tests.training_cases import model_settings


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Start a job; returns its inputs, the devices claimed and the packages left out."""
    claimed, left_out = [], []

    @contextmanager
    def lean_imports(*packages):
        left_out.append(packages)
        yield

    monkeypatch.setattr(module, "claim_device", claimed.append)
    monkeypatch.setattr(module, "lean_imports", lean_imports)

    def begin(arm=None, gpu=None, **training):
        model = model_settings(tmp_path, device="cpu")
        settings = TrainingSettings(max_length=64, validation_interval=0.5, **training)
        untracked = {"label": "tiny", "parameters": 1e5}
        params = {"model": model.model_dump(), "training": settings.model_dump(), "seed": 7}
        snakemake = SimpleNamespace(
            params=SimpleNamespace(**params, system_prompt=None, code="c"),
            config={"models": {"tiny": model.model_dump() | untracked}, "training": settings.model_dump() | training},
            wildcards=SimpleNamespace(model="tiny"),
            input=SimpleNamespace(manifest="m", model="m.json", train="t", validation="v"),
            output=SimpleNamespace(metrics=str(tmp_path / "metrics.json")),
            resources={} if gpu is None else {"gpu": gpu},
        )
        return module.start_training(snakemake, "adamw_torch", arm), claimed, left_out

    return begin


@pytest.mark.parametrize(("gpu", "expected"), [(None, []), (0, []), (1, ["cpu"])])
def test_a_card_is_claimed_where_the_rule_asks_for_one(start, gpu, expected):
    assert start(gpu=gpu)[1] == expected


def test_packages_stay_out_but_where_reports_may_need_them(start):
    assert "bitsandbytes" in start()[2][-1]
    assert start(report_to=["tensorboard"])[2][-1] == ()


def test_the_stages_get_the_jobs_inputs_and_its_arm(start, tmp_path):
    inputs = start({"steps_of": 9, "constraint": {"weight": 2.0, "depth": 3}})[0]
    assert (inputs.seed, inputs.folder, inputs.train, inputs.gpu_memory_gb) == (7, tmp_path, "t", "auto")
    assert (inputs.arm.steps_of, inputs.arm.constraint.weight, inputs.arm.joint) == (9, 2.0, None)
    assert start()[0].arm == Arm()


def test_the_module_itself_imports_no_torch():
    """The card must be chosen before: PyTorch looks at the visible cards when it is imported."""
    program = "import sys, formsafe.training.job; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    assert subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT).returncode == 0
