"""Local models and encoders: other weights are seen, a touch or a folder that is gone is not, and any name will do."""

import os
import shutil
from pathlib import Path

import pytest

from tests.checkout import copy_checkout, planned_jobs, snakemake

STUDY = """
study: own
models: {encoder: {path: mine, label: Mine, parameters: 1.0e+6, device: cpu}}
tasks: {encoder: {path: embedder}}
judges: {policy: {model: encoder}}
grid:
  - {models: [encoder], methods: [base]}
"""
MODELS = ["--configfile", "config/demo.yaml", "own.yaml", "--cores", "1", "models"]
WEIGHTS = ["mine/model.safetensors", "embedder/0_Module/model.safetensors"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout whose study has a model called `encoder` and a sentence encoder, both of them local and fetched."""
    checkout = copy_checkout(tmp_path_factory.mktemp("local") / "formsafe")
    (checkout / "own.yaml").write_text(STUDY)
    for name in ("mine/config.json", "embedder/modules.json"):
        (checkout / name).parent.mkdir()
        (checkout / name).write_text("{}")
    for number, name in enumerate(WEIGHTS):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_bytes(bytes([number]) * 1000)
    snakemake(checkout, *MODELS)
    return checkout


def test_a_model_may_be_called_encoder(checkout):
    assert (checkout / "results/own/models/encoder.json").read_text().count("mine") == 1
    assert (checkout / "results/own/encoder.json").read_text().count("embedder") == 1


def test_a_touch_of_weights_makes_nothing_stale(checkout):
    for name in WEIGHTS:
        os.utime(checkout / name)
    assert planned_jobs(checkout, *MODELS) == {}


def test_fetched_models_may_be_gone(checkout):
    (checkout / "mine").rename(checkout / "moved")
    try:
        assert planned_jobs(checkout, *MODELS) == {}
    finally:
        (checkout / "moved").rename(checkout / "mine")


def test_other_weights_of_the_same_size_are_seen_and_so_is_what_follows_from_them(checkout, tmp_path):
    copy = shutil.copytree(checkout, tmp_path / "copy", symlinks=True)
    manifests = {path: path.read_text() for path in (copy / "results/own").rglob("*.json")}
    for name in WEIGHTS:
        (copy / name).write_bytes(b"x" * 1000)
    assert planned_jobs(copy, *MODELS) == {"fetch_model": 1, "fetch_encoder": 1, "models": 1}
    snakemake(copy, *MODELS)
    assert len(manifests) == 2 and all(path.read_text() != text for path, text in manifests.items())


def test_a_path_that_is_not_there_is_named_by_its_key(checkout):
    wrong = ["--config", "models={encoder: {path: nope}}"]
    failed = snakemake(checkout, "--dry-run", *wrong, *MODELS, check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert f"models.encoder.path: there is no config.json in nope (looked from {checkout})" in said
    assert "Traceback" not in said and "MissingInput" not in said
