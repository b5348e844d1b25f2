"""What each format costs in tokens of one model: the same content, but not the same length."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from formsafe.core.files import read_json, write_json
from formsafe.data.records import TrainingExample
from formsafe.sources.models import model_folder

_BATCH = 1000


def count_tokens(model: Path | str, train: Mapping[str, Path], counts: Path | str) -> dict[str, Any]:
    """Count the tokens of the training responses in every format, without those of the chat template.

    Args:
        model: the model's manifest.
        train: training data by format.
        counts: output: by format, examples, tokens, mean and longest response, and the ratio of tokens to those of the
            cheapest format.
    """
    from transformers import AutoTokenizer

    manifest = read_json(model)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(manifest), trust_remote_code=False)
    formats = {}
    for name, path in train.items():
        texts = [example.response for example in TrainingExample.read(path)]
        lengths: list[int] = []
        for first in range(0, len(texts), _BATCH):
            encoded = tokenizer(texts[first : first + _BATCH], add_special_tokens=False)
            lengths += map(len, encoded["input_ids"])
        mean = round(sum(lengths) / len(lengths), 2)
        formats[name] = {"examples": len(lengths), "tokens": sum(lengths), "mean": mean, "longest": max(lengths)}
    cheapest = min(figures["tokens"] for figures in formats.values())
    for figures in formats.values():
        figures["ratio_to_cheapest"] = round(figures["tokens"] / cheapest, 4)
    record = {"model": manifest["name"], "repo": manifest["repo"], "revision": manifest["revision"], "formats": formats}
    write_json(counts, record)
    return record
