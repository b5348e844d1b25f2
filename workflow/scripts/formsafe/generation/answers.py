"""The stage that answers a run's prompts."""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from formsafe.config.settings.generation import GenerationSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.files import file_digest, read_json, read_jsonl, write_json, write_jsonl
from formsafe.core.provenance import stage_record
from formsafe.generation.engines import make_engine
from formsafe.generation.journal import Journal
from formsafe.generation.replies import Prompt, Reply, ask, generation_figures, prompts_digest, require_room
from formsafe.generation.thoughts import split_thoughts

JOURNAL = ".answers.journal.jsonl"
SECTION = "answers"


@dataclass(frozen=True)
class AnswerJob:
    """Inputs and outputs of the stage.

    Attributes:
        model_manifest: JSON with the model's `path`.
        prompts: name to file (JSONL of `id` and `prompt`) of each set of prompts.
        answers: name to file of answers to write for each set.
        metrics: JSON with the stage's figures to write; the journal is beside it while the stage runs.
        model: the model's settings.
        generation: how it answers.
        system_prompt: system prompt, if any.
        gpu_memory_gb: memory plan.
        code: digest of the code.
        adapter: the weights in the folder of the run's adapter.
        soft_prompt: the weights in the folder of a soft prompt that stays at inference.
    """

    model_manifest: str | Path
    prompts: Mapping[str, str | Path]
    answers: Mapping[str, str | Path]
    metrics: str | Path
    model: ModelSettings
    generation: GenerationSettings
    system_prompt: str | None
    gpu_memory_gb: Any
    code: str
    adapter: str | Path | None = None
    soft_prompt: str | Path | None = None


def answer_prompts(job: AnswerJob) -> None:
    """Answer all sets of prompts in one plan of batches; write a file of answers per set, and the metrics last."""
    started, generation = time.time(), job.generation
    manifest = read_json(job.model_manifest)
    sets = {name: read_prompts(path, job.system_prompt) for name, path in job.prompts.items()}
    # Two sets may use one id; within a section of the journal ids are unique, so the set's name comes before them.
    asked = [replace(prompt, id=f"{name}/{prompt.id}") for name, found in sets.items() for prompt in found]
    engine = make_engine(
        manifest, job.model, generation, job.gpu_memory_gb, _folder(job.adapter), _folder(job.soft_prompt)
    )
    header = {
        "model": manifest,
        "adapter": _digest(job.adapter),
        "soft_prompt": _digest(job.soft_prompt),
        "prompts": prompts_digest(asked),
        "settings": generation.model_dump(),
        "engine": engine.describe(),
        "code": job.code,
    }
    with closing(engine):
        require_room(engine, asked, generation)
        journal = Journal(Path(job.metrics).parent / JOURNAL, header)
        replies = ask(engine, asked, generation, journal, SECTION)
    remaining = iter(replies)
    for name, found in sets.items():
        write_jsonl(job.answers[name], [answer_record(prompt, next(remaining)) for prompt in found], private=True)
    figures = generation_figures(engine, journal, replies)
    write_json(job.metrics, figures | stage_record(started, job.code, generation.seed, journal.continued_seconds))
    journal.remove()


def _folder(weights: str | Path | None) -> Path | None:
    return None if weights is None else Path(weights).parent


def _digest(weights: str | Path | None) -> str | None:
    return None if weights is None else file_digest(weights)


def read_prompts(path: str | Path, system: str | None) -> list[Prompt]:
    """Read a file of prompts (`id`, `prompt`)."""
    return [Prompt(row["id"], row["prompt"], system) for row in read_jsonl(path, id=str, prompt=str)]


def answer_record(prompt: Prompt, reply: Reply) -> dict[str, Any]:
    """One line of answers.jsonl; seconds are in the metrics, since here they would differ after every kill.

    Thoughts are no part of an answer: what the model wrote as such is kept beside it.
    """
    answer, thoughts = split_thoughts(reply.text)
    return {
        "id": prompt.id,
        "prompt_sha256": prompt.sha256,
        "answer": answer,
        "thoughts": "\n".join(filter(None, [reply.thoughts, thoughts])),
        "tokens": reply.tokens,
        "finish_reason": reply.finish_reason,
    }
