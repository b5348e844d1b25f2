"""Losses that go to TensorBoard, W&B, MLflow and trackio as well."""

import json
import os
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from transformers.integrations import integration_utils

from formsafe.config.settings.base import restored
from formsafe.config.settings.training import TrainingSettings
from formsafe.models.memory import TrainingPlan
from formsafe.preflight.machine_checks import check_reports
from formsafe.training.job import prepare_reports
from formsafe.training.plan import training_arguments
from formsafe.training.stages import Inputs, train_adapter
from tests.training_cases import adapter_settings, job

SERVICES = ["tensorboard", "wandb", "mlflow", "trackio"]


def arguments(tiny_model, tmp_path, services):
    made = Inputs(**job(tmp_path, tiny_model, rows=4, report_to=services))
    inputs = replace(made, folder=tmp_path / "runs/model=m/method=sft/adapter")
    model = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)
    return training_arguments(inputs, adapter_settings(), 1e-3, TrainingPlan(2, False), model, tmp_path, None)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_its_own_callback_of_the_trainer_and_no_other(tiny_model, tmp_path, service):
    made = arguments(tiny_model, tmp_path, [service])
    callbacks = integration_utils.get_reporting_integration_callbacks(made.report_to)
    assert [callback.__name__.lower() for callback in callbacks] == [f"{service}callback"]
    assert made.run_name == "model=m method=sft"
    assert service != "trackio" or (made.hub_private_repo is True and made.trackio_static_space_id is False)


def test_by_default_nothing_is_reported(tiny_model, tmp_path):
    made = arguments(tiny_model, tmp_path, [])
    assert integration_utils.get_reporting_integration_callbacks(made.report_to) == []


def test_it_is_no_tracked_setting_and_comes_back_inside_a_job(tiny_model, tmp_path):
    settings = TrainingSettings(max_length=9, report_to=["wandb"])
    assert "report_to" not in settings.model_dump()
    assert restored(TrainingSettings, settings.model_dump(), {"report_to": ["wandb"]}) == settings
    with pytest.raises(ValueError, match="report_to"):
        TrainingSettings(max_length=9, report_to=["all"])


def test_wandb_gets_neither_output_nor_code_and_tensorboard_the_runs_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    prepare_reports([], tmp_path)
    assert os.environ == {}
    prepare_reports(["tensorboard", "wandb"], tmp_path)
    assert os.environ == {
        "TENSORBOARD_LOGGING_DIR": str(tmp_path / "tensorboard"),
        **{"WANDB_CONSOLE": "off", "WANDB_DISABLE_CODE": "true", "WANDB_DISABLE_GIT": "true"},
    }


def test_a_missing_package_is_an_error_before_any_job(monkeypatch):
    assert check_reports([]) == []
    monkeypatch.setattr("formsafe.preflight.machine_checks.find_spec", lambda name: name in ("tensorboardX", "mlflow"))
    checks = check_reports(SERVICES)
    assert [(check.state, check.detail) for check in checks] == [
        ("no", "the package wandb is not installed"),
        ("no", "the package trackio is not installed"),
    ]


@pytest.mark.skipif(not find_spec("tensorboard"), reason="needs tensorboard")
def test_tensorboard_shows_the_losses_and_no_text_of_the_data(tiny_model, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    inputs = Inputs(**job(tmp_path, tiny_model, rows=8, report_to=["tensorboard"]))
    train_adapter(inputs, adapter_settings(), 1e-2)
    shown = EventAccumulator(str(tmp_path / "board")).Reload()
    assert "train/loss" in shown.Tags()["scalars"] and len(shown.Scalars("train/loss")) > 1
    everything = b"".join(path.read_bytes() for path in (tmp_path / "board").rglob("events*"))
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    texts = [message["content"] for row in rows for message in row["messages"]]
    assert texts and not any(text.encode() in everything for text in texts)
