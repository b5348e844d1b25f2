"""Checkpoints that are complete or absent, and adapters saved in the same way every time."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel

from formsafe.core.files import read_json, replacing, sync, write_json
from formsafe.core.texts import sha256
from formsafe.models.load import ADAPTER_CONFIG, ADAPTER_WEIGHTS

SCRATCH = ".checkpoints"
_JOB = "job.json"
_PARTIAL = ".partial"


def open_scratch(beside: str | Path, job: dict[str, Any]) -> Path:
    """Open the scratch folder beside an output; checkpoints of another job (data, settings, code) are removed.

    Args:
        beside: the folder of the outputs.
        job: all that the result depends on, as JSON values.
    """
    scratch = Path(beside) / SCRATCH
    identity = {"job": sha256(json.dumps(job, sort_keys=True))}
    if scratch.is_dir() and (not (scratch / _JOB).is_file() or read_json(scratch / _JOB) != identity):
        print(f"Removing the checkpoints of an earlier job with other inputs: {scratch}")
        remove_scratch(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(scratch / _PARTIAL, ignore_errors=True)
    write_json(scratch / _JOB, identity)
    return scratch


def remove_scratch(scratch: Path) -> None:
    """Remove the scratch folder, its identity first: if the removal is interrupted, no job continues from the rest."""
    (scratch / _JOB).unlink(missing_ok=True)
    shutil.rmtree(scratch)


def latest(scratch: str | Path) -> Path | None:
    """The newest checkpoint, or None. Only complete ones have this name: one in the making is a partial folder."""
    return max(Path(scratch).glob("checkpoint-*"), key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The optimiser step after which a checkpoint was taken."""
    return int(checkpoint.name.partition("-")[2])


@contextmanager
def writing(scratch: str | Path, step: int) -> Iterator[Path]:
    """Yield a folder in which `checkpoint-<step>` is made; then sync it, rename it into place and remove older ones."""
    scratch = Path(scratch)
    partial, name = scratch / _PARTIAL, f"checkpoint-{step}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    yield partial
    # Synced before it gets its name: after a power failure the name could otherwise belong to empty files.
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
    if isinstance(config.get("target_modules"), list):  # PEFT writes a set, whose order changes with every process
        config["target_modules"] = sorted(config["target_modules"])
    write_json(Path(folder) / ADAPTER_CONFIG, config)


def publish_adapter(model: PeftModel, scratch: Path, folder: Path) -> None:
    """Write a PEFT model's own weights to `folder` so that each file is complete or absent."""
    save_adapter(model, scratch / "adapter")
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        with replacing(folder / name) as temporary:
            shutil.move(scratch / "adapter" / name, temporary)
