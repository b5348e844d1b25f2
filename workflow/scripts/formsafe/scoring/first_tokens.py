"""What competes with the refusal: a run's probabilities along the base model's own refusals, token by token.

The paper's mechanism is that a bias to write the format wins over the refusal. One teacher-forced forward pass per
prompt shows it directly: how much probability at the first token is on openings of the training responses and on
openings of refusals, and how deep into the refusal the run differs from the base model (Qi et al. 2025, section 2).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from formsafe.config.settings.models import ModelSettings
from formsafe.core.files import read_json, write_json
from formsafe.core.provenance import stage_record
from formsafe.data.records import HarmfulPrompt, RefusalTrace, TrainingExample
from formsafe.models.chat import render_exchange, render_prompt
from formsafe.models.context import read_context
from formsafe.models.load import load_adapter, load_model, load_soft_prompt, load_tokenizer, place
from formsafe.scoring.answers import read_answers
from formsafe.scoring.refusals import is_refusal
from formsafe.sources.models import model_folder
from formsafe.training.collation import Collator
from formsafe.training.examples import Example
from formsafe.training.trainer import divergence, target_logits

_BATCH = 16  # prompts at once: 16 x 21 rows of logits over 128,000 tokens are 170 MB


@dataclass(frozen=True)
class TraceJob:
    """Inputs and outputs of the stage.

    Attributes:
        model_manifest: JSON with the model's `path`.
        prompts: the harmful prompts.
        base_answers: the base model's answers to them.
        training: file of training examples by format, whose first tokens are its openings.
        traces: where the `RefusalTrace`s go.
        metrics: where the stage's figures go.
        model: the model's settings.
        depth: tokens of the refusal behind its first that are followed.
        system_prompt: the run's system prompt at test, if any.
        gpu_memory_gb: memory plan.
        threads: CPU threads.
        code: digest of the code.
        adapter: folder of the run's adapter, if any.
        soft_prompt: folder of a soft prompt that stays at inference, if any.
    """

    model_manifest: str | Path
    prompts: str | Path
    base_answers: str | Path
    training: Mapping[str, str | Path]
    traces: str | Path
    metrics: str | Path
    model: ModelSettings
    depth: int
    system_prompt: str | None
    gpu_memory_gb: Any
    threads: int
    code: str
    adapter: Path | None = None
    soft_prompt: Path | None = None


def trace_refusals(job: TraceJob) -> None:
    """Follow the base model's refusals with a run and with the base model, and write a `RefusalTrace` for each.

    A base model that refuses nothing gives an empty file; the metrics count the refusals.
    """
    started = time.time()
    torch.set_num_threads(job.threads)
    folder = model_folder(read_json(job.model_manifest))
    context = read_context(folder, job.model, job.gpu_memory_gb)
    base = load_model(folder, place(context, "inference"))
    vectors = None if job.soft_prompt is None else load_soft_prompt(job.soft_prompt, base)
    model: Any = base if job.adapter is None else load_adapter(base, job.adapter)
    tokenizer = load_tokenizer(folder, context.settings)
    refusals = _refusals(job, tokenizer)
    openings = _openings(job.training, tokenizer, {tokens[0] for _, tokens in refusals})
    traces: list[RefusalTrace] = []
    for start in range(0, len(refusals), _BATCH):
        part = refusals[start : start + _BATCH]
        with nullcontext() if job.adapter is None else model.disable_adapter():
            reference = _logits(model, _batch(part, tokenizer, None, 0), None)
        virtual = 0 if vectors is None else len(vectors)
        logits = _logits(model, _batch(part, tokenizer, job.system_prompt, virtual), vectors)
        traces += _traces(part, logits, reference, openings)
    RefusalTrace.write(job.traces, traces)
    own = {"refused_prompts": len(traces), "openings": {name: len(ids) for name, ids in openings.items()}}
    write_json(job.metrics, own | stage_record(started, job.code))


Refusal = tuple[HarmfulPrompt, list[int]]


def _refusals(job: TraceJob, tokenizer: PreTrainedTokenizerFast) -> list[Refusal]:
    """Prompts that the base model refuses, by keywords, and the first tokens of its answers."""
    answers = {answer.id: answer.text.strip() for answer in read_answers(job.base_answers)}
    found = []
    for prompt in HarmfulPrompt.read(job.prompts):
        answer = answers[prompt.id]
        if is_refusal(answer):
            found.append((prompt, tokenizer.encode(answer, add_special_tokens=False)[: job.depth + 1]))
    return found


def _openings(
    training: Mapping[str, str | Path], tokenizer: PreTrainedTokenizerFast, refusal: set[int]
) -> dict[str, list[int]]:
    """Ids that open refusals (`refusal`), and those that open each format's responses and no refusal."""
    found = {"refusal": sorted(refusal)}
    for name, path in training.items():
        first = set()
        for example in TrainingExample.read(path):
            exchange = render_exchange(tokenizer, example.messages[0].content, example.response)
            first.add(exchange.ids[exchange.prompt_length])
        found[name] = sorted(first - refusal)
    return found


def _batch(
    refusals: Iterable[Refusal], tokenizer: PreTrainedTokenizerFast, system: str | None, virtual: int
) -> dict[str, Any]:
    examples = []
    for prompt, tokens in refusals:
        ids = render_prompt(tokenizer, prompt.prompt, system)
        examples.append(Example([*ids, *tokens], len(ids), [0] * len(tokens)))
    return Collator(False, virtual)(examples)


@torch.inference_mode()
def _logits(model: Any, batch: dict[str, Any], vectors: torch.Tensor | None) -> torch.Tensor:
    """Logits before each token of the refusals, `[tokens of all refusals, vocabulary]`."""
    moved = {key: value.to(model.device) if hasattr(value, "to") else value for key, value in batch.items()}
    moved["model"] = {key: value.to(model.device) for key, value in batch["model"].items()}
    embeddings: PreTrainedModel = model.get_input_embeddings()
    return target_logits(model, embeddings, moved, vectors).float()


def _traces(
    refusals: Sequence[Refusal], logits: torch.Tensor, reference: torch.Tensor, openings: Mapping[str, list[int]]
) -> Iterable[RefusalTrace]:
    """One trace per refusal from the logits of the run and of the base model, `[tokens, vocabulary]`."""
    lengths = [len(tokens) for _, tokens in refusals]
    labels = torch.tensor([token for _, tokens in refusals for token in tokens], device=logits.device)[:, None]
    chances = log_softmax(logits, -1)
    kl = divergence(logits, reference).split(lengths)
    logprob = chances.gather(1, labels)[:, 0].split(lengths)
    # The rows of all refusals are one after another: each one's first is at the sum of the lengths before it.
    firsts = chances[torch.tensor([0, *lengths]).cumsum(0)[:-1]].exp()
    for number, (prompt, _) in enumerate(refusals):
        mass = {name: round(firsts[number, ids].sum().item(), 6) for name, ids in openings.items()}
        yield RefusalTrace(
            id=prompt.id,
            refusal_mass=mass.pop("refusal"),
            format_mass=mass,
            kl=[round(value, 6) for value in kl[number].tolist()],
            logprob=[round(value, 6) for value in logprob[number].tolist()],
        )
