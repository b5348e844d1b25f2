"""Checkpoints that are whole or not there, and adapters saved the same way every time."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel

from formsafe.core.files import read_json, sync, write_json
from formsafe.models.load import ADAPTER_CONFIG

SCRATCH = ".checkpoints"
_JOB = "job.json"
_PARTIAL = ".partial"


def open_scratch(beside: str | Path, job: dict[str, Any]) -> Path:
    """Open the scratch folder beside an output; checkpoints of another job (data, settings, code) are thrown away.

    Args:
        beside: the folder of the outputs.
        job: all that the result depends on, JSON-ready.
    """
    scratch = Path(beside) / SCRATCH
    identity = {"job": hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()}
    if scratch.is_dir() and (not (scratch / _JOB).is_file() or read_json(scratch / _JOB) != identity):
        print(f"Checkpoints of an earlier job with other inputs are in the way: removing {scratch}")
        remove_scratch(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(scratch / _PARTIAL, ignore_errors=True)
    write_json(scratch / _JOB, identity)
    return scratch


def remove_scratch(scratch: Path) -> None:
    """Remove the scratch folder, its identity first: where the removal is cut short, no job continues from the rest."""
    (scratch / _JOB).unlink(missing_ok=True)
    shutil.rmtree(scratch)


def latest(scratch: str | Path) -> Path | None:
    """The newest checkpoint, or None. Only whole ones carry the name: a half-written one is a partial folder."""
    return max(Path(scratch).glob("checkpoint-*"), key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The optimiser step after which a checkpoint was taken."""
    return int(checkpoint.name.partition("-")[2])


@contextmanager
def writing(scratch: str | Path, step: int) -> Iterator[Path]:
    """Yield a folder in which `checkpoint-<step>` is made; then sync it, put it in place and drop the ones before."""
    scratch = Path(scratch)
    partial, name = scratch / _PARTIAL, f"checkpoint-{step}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    yield partial
    for path in [*(partial / name).iterdir(), partial / name]:
        sync(path)
    shutil.rmtree(scratch / name, ignore_errors=True)
    os.rename(partial / name, scratch / name)
    sync(scratch)
    for older in scratch.glob("checkpoint-*"):
        if older.name != name:
            shutil.rmtree(older)


def save_adapter(model: PeftModel, folder: str | Path) -> None:
    """Save a PEFT model's own weights; two saves of equal weights are equal to the byte."""
    # Embeddings are never trained; PEFT would otherwise look for the base model's config on the hub.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    config = read_json(Path(folder) / ADAPTER_CONFIG)
    if isinstance(config.get("target_modules"), list):  # PEFT writes a set, in another order each run
        config["target_modules"] = sorted(config["target_modules"])
    write_json(Path(folder) / ADAPTER_CONFIG, config)
