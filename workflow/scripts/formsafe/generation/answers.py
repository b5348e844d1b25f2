"""The stage that answers a run's prompts."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from formsafe.config.settings.generation import GenerationSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.files import read_json, read_jsonl, write_json, write_jsonl
from formsafe.core.provenance import stage_record
from formsafe.generation.engines import make_engine
from formsafe.generation.journal import Journal, digest
from formsafe.generation.replies import Prompt, Reply, ask, generation_figures, prompts_digest, require_room

JOURNAL = ".answers.journal.jsonl"


def answer_prompts(
    model_manifest: str | Path,
    prompts: Mapping[str, str | Path],
    answers: Mapping[str, str | Path],
    metrics: str | Path,
    *,
    model: ModelSettings,
    generation: GenerationSettings,
    system_prompt: str | None,
    gpu_memory_gb: Any,
    code: str,
    adapter: str | Path | None = None,
    soft_prompt: str | Path | None = None,
) -> None:
    """Answer each set of prompts (name to JSONL of `id` and `prompt`) into the file of the same name.

    Args:
        model_manifest: JSON with the model's `path`.
        prompts: file of prompts a set.
        answers: file of answers to write a set.
        metrics: JSON with the stage's figures to write; the journal lies beside it while the stage runs.
        adapter: `metrics.json` in the folder of the run's adapter.
        soft_prompt: `metrics.json` in the folder of a soft prompt that stays at inference.
    """
    started = time.time()
    manifest = read_json(model_manifest)
    sets = {name: read_prompts(path, system_prompt) for name, path in prompts.items()}
    engine = make_engine(manifest, model, generation, gpu_memory_gb, _folder(adapter), _folder(soft_prompt))
    for found in sets.values():  # all of them before the first is answered
        require_room(engine, found, generation)
    header = {
        "model": manifest,
        "adapter": _digest(adapter),
        "soft_prompt": _digest(soft_prompt),
        "prompts": {name: prompts_digest(found) for name, found in sets.items()},
        "settings": generation.model_dump(),
        "engine": engine.describe(),
        "code": code,
    }
    journal = Journal(Path(metrics).parent / JOURNAL, header)
    replies = {name: ask(engine, found, generation, journal, name) for name, found in sets.items()}
    for name, found in sets.items():
        write_jsonl(answers[name], map(answer_record, found, replies[name]))
    figures = generation_figures(engine, journal, [reply for found in replies.values() for reply in found])
    write_json(metrics, figures | stage_record(started, code, generation.seed, journal.continued_seconds))
    journal.remove()


def _folder(metrics: str | Path | None) -> Path | None:
    return None if metrics is None else Path(metrics).parent


def _digest(metrics: str | Path | None) -> str | None:
    return None if metrics is None else digest([read_json(metrics)])


def read_prompts(path: str | Path, system: str | None = None) -> list[Prompt]:
    """Read a file of prompts (`id`, `prompt`)."""
    return [Prompt(row["id"], row["prompt"], system) for row in read_jsonl(path)]


def answer_record(prompt: Prompt, reply: Reply) -> dict[str, Any]:
    """One line of answers.jsonl. Seconds stand in the metrics: here they would differ after every kill."""
    return {
        "id": prompt.id,
        "prompt_sha256": prompt.sha256,
        "answer": reply.text,
        "tokens": reply.tokens,
        "finish_reason": reply.finish_reason,
    }
