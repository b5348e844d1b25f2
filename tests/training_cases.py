"""Small training files and the inputs of a training job."""

import json
import random
from pathlib import Path
from typing import Any

from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.training import AdapterSettings, LoraSettings, SoftPromptSettings, TrainingSettings

TEXT = "fill the bowl with water wait for ten minutes wipe lamp from top to bottom sand fence brush on varnish"
WORDS = TEXT.split()


def record(name: str, user: str, sentences: list[str], shape: str = "list") -> dict[str, Any]:
    """One row of training data with its spans."""
    pieces: list[tuple[str, str]] = []
    for number, sentence in enumerate(sentences):
        before = ("\n" if number else "") + "- " if shape == "list" else " " if number else ""
        pieces += [(before, "format"), (sentence, "content")]
    text, spans = "", []
    for piece, kind in pieces:
        if piece:
            spans.append([len(text), len(text) + len(piece), kind])
            text += piece
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": text}]
    return {"id": name, "messages": messages, "spans": spans}


def write_rows(path: Path, count: int, seed: int = 0, shape: str = "list", words: tuple[int, int] = (2, 9)) -> Path:
    """Write `count` rows of made-up household advice."""
    draw = random.Random(seed)

    def sentence() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(*words))).capitalize() + "."

    rows = [
        record(
            f"row-{n}",
            f"How to {' '.join(draw.choices(WORDS, k=4))}?",
            [sentence() for _ in range(draw.randint(1, 4))],
            shape,
        )
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def model_settings(path: Path, **changes: Any) -> ModelSettings:
    """A model on CPU in fp32."""
    own = {"path": str(path), "label": "tiny", "parameters": 1e5, "quantisation": "none", "device": "cpu"}
    return ModelSettings(**{**own, **changes})


def adapter_settings(**changes: Any) -> AdapterSettings:
    """A short training of an adapter without dropout."""
    own = {"batch_size": 4, "gradient_accumulation": 2, "epochs": 2.0, "scheduler": "cosine", "warmup_steps": 1}
    lora = LoraSettings(r=4, alpha=4, dropout=changes.pop("dropout", 0.0))
    return AdapterSettings(**{**own, "lora": lora, **changes})


def soft_prompt_settings(**changes: Any) -> SoftPromptSettings:
    """A short tuning of a soft prompt."""
    own = {"batch_size": 4, "gradient_accumulation": 2, "epochs": 1.0, "scheduler": "constant", "warmup_steps": 0}
    return SoftPromptSettings(**{**own, "virtual_tokens": 6, "learning_rate": 0.1, **changes})


def job(folder: Path, model: Path, rows: int = 24, **changes: Any) -> dict[str, Any]:
    """Arguments of `formsafe.training.stages.Inputs` for a job in `folder`; `changes` go to the training settings."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "model.json"
    manifest.write_text(json.dumps({"name": "tiny", "path": str(model)}), encoding="utf-8")
    own: dict[str, Any] = {"max_length": 512, "validation_interval": 0.5}
    return {
        "manifest": manifest,
        "model": model_settings(model),
        "train": write_rows(folder / "train.jsonl", rows),
        "validation": write_rows(folder / "validation.jsonl", 5, seed=1),
        "folder": folder / "out",
        "training": TrainingSettings(**{**own, **changes}),
        "seed": 0,
    }
