"""The study's jobs by stage and model, what each costs, and whether it fits into memory and on disk."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from formsafe.config.loading import counted_examples
from formsafe.config.settings.study import StudySettings
from formsafe.core.layout import BENIGN, HARMFUL, SAFETY, partitions, run_of
from formsafe.models import memory
from formsafe.models.context import ModelContext, read_context
from formsafe.preflight.checks import Check
from formsafe.preflight.machine_checks import Gpu
from formsafe.preflight.stage_costs import STAGES, Cost, Stage, Work, estimate

COSTS = "Costs"
# An answer or a judgement on disk; a checkpoint holds weights and two moments, and for a moment there are two.
RECORD_BYTES, CHECKPOINT_COPIES, ADAPTER_BYTES, SLACK_BYTES = 4e3, 6, 4.0, 1e9
JOBS_AT_ONCE = 4
LONGEST_EXAMPLE = 320  # tokens, of a summary in the longest format
UNSEEN_GB = 80.0  # memory of the GPU to plan for where neither the machine nor the configuration says


@dataclass(frozen=True)
class Card:
    """The GPU that a study is planned for."""

    name: str
    memory_gb: float


def card_of(gpu: Gpu | None, gpu_memory_gb: int | str) -> Card:
    """The GPU here, else one with the memory that the configuration names."""
    if gpu is not None:
        return Card(gpu.name, gpu.total / 1e9)
    return Card("a GPU", UNSEEN_GB if isinstance(gpu_memory_gb, str) else float(gpu_memory_gb))


def works_of(study: StudySettings, jobs: Mapping[str, Sequence[str]]) -> list[Work]:
    """The study's jobs by stage, model and size, less those of servers elsewhere; a judge's belong to its own model."""
    works: dict[Work, list[str]] = {}
    for stage in STAGES:
        for job in jobs[stage]:
            work = _training(study, stage, job) or _answering(study, stage, partitions(job))
            if work is not None:
                works.setdefault(work, []).append(job)
    return [replace(work, jobs=found) for work, found in works.items()]


def _training(study: StudySettings, stage: Stage, job: str) -> Work | None:
    """The work of a job that trains."""
    settings = {"soft prompts": study.soft_prompt, "adapters": study.adapter}.get(stage)
    if settings is None:
        return None
    run = run_of(job)
    batch = settings.batch_size * settings.gradient_accumulation
    return Work(stage, run.model, (), settings.steps(counted_examples(study, run)), batch)


def _answering(study: StudySettings, stage: Stage, named: Mapping[str, str]) -> Work | None:
    """The work of a job that answers or judges, by the parts of its path; None where a server elsewhere does it."""
    judge = study.judges[named["judge"]] if stage == "judge" else None
    generation = judge.generation if judge else study.generation
    if generation.elsewhere:
        return None
    prompts = named.get("prompts", HARMFUL)
    if prompts == SAFETY and study.safety is not None:  # all rows of the source that the study does not test
        source = study.harmful[study.safety.source]
        units = (source.rows or 2 * source.count) - source.count
    else:
        units = sum(source.count for source in (study.benign if prompts == BENIGN else study.harmful).values())
    units += study.corpus.splits.test if "prompts" not in named else 0
    model = judge.model if judge else named["model"]
    return Work(stage, model, (), units, 0, generation.max_new_tokens, "" if prompts == HARMFUL else prompts)


def contexts_of(
    study: StudySettings, folders: Mapping[str, Path | None], gpu: Gpu | None, card: Card
) -> dict[str, ModelContext]:
    """What the jobs will know of each model, on the device that they will have."""
    memory_gb = card.memory_gb if study.gpu_memory_gb == "auto" else study.gpu_memory_gb
    contexts = {}
    for name, folder in folders.items():
        model = study.models[name]
        on_gpu = model.device == "cuda" or (model.device == "auto" and gpu is not None)
        contexts[name] = read_context(folder, model, memory_gb, "cuda" if on_gpu else "cpu")
    return contexts


def cost_of(work: Work, study: StudySettings, context: ModelContext, gpu: Gpu | None, results: Path) -> Cost:
    """Cost of a job of `work`, with the GPU memory that it plans for."""
    on_gpu = context.device == "cuda"
    device = f"cpu ({platform.machine()})" if not on_gpu else None if gpu is None else gpu.name
    seconds, basis = estimate(work, context.settings.parameters, results, device)
    if not on_gpu:
        return Cost(work, seconds, basis)
    settings = study.soft_prompt if work.stage == "soft prompts" else study.adapter
    rank = study.adapter.lora.r if work.stage in ("adapters", "answers") else 0
    if work.trains:
        batch = memory.TrainingBatch(settings.batch_size, settings.gradient_accumulation, LONGEST_EXAMPLE, rank)
        training = memory.plan_training(context, batch)
        tokens = training.micro_batch_size * LONGEST_EXAMPLE
        size = memory.training_bytes(context, tokens, training.gradient_checkpointing, rank)
    else:
        size = memory.inference_bytes(context, memory.plan_inference(context, rank), rank)
    return Cost(work, seconds, basis, size)


def check_memory(costs: Sequence[Cost], card: Card, wanted: int | str, gpu: Gpu | None) -> list[Check]:
    """Whether the plans fit the card, and whether the plan is for a larger card than the one here."""
    allowed = min(card.memory_gb, wanted) if isinstance(wanted, int) else card.memory_gb
    remedy = "Use more GPU memory (gpu_memory_gb), quantisation nf4, a smaller training.max_length, or a smaller model."
    limit = f"gpu_memory_gb is {allowed:.0f}" if allowed < card.memory_gb else f"{card.name} has {allowed:.0f} GB"
    checks = []
    for cost in costs:
        if cost.memory_bytes is not None and cost.memory_bytes > allowed * 1e9:
            detail = f"{cost.work.model} needs {cost.memory_bytes / 1e9:.0f} GB, {limit}"
            checks.append(Check(COSTS, f"{cost.work.stage} memory", "no", detail, remedy))
    if gpu is not None and isinstance(wanted, int) and wanted * 1e9 > gpu.total * 1.1:
        detail = f"gpu_memory_gb is {wanted}, the GPU here has {gpu.total / 1e9:.0f} GB"
        checks.append(Check(COSTS, "memory plan", "no", detail, "Set gpu_memory_gb to auto, or to what the GPUs have."))
    return checks


def disk_needs(
    study: StudySettings, works: Sequence[Work], contexts: Mapping[str, ModelContext], results: Path, download: float
) -> dict[Path, float]:
    """Bytes that the study will write below the hub's cache and below its results."""
    from huggingface_hub import constants

    records = sum(work.left * work.units for work in works if not work.trains)
    rank = study.adapter.lora.r
    adapters = [(work.left, contexts[work.model].shape.lora_parameters(rank)) for work in works if work.trains]
    kept = sum(ADAPTER_BYTES * left * size for left, size in adapters)
    copies = [CHECKPOINT_COPIES * ADAPTER_BYTES * size * min(left, JOBS_AT_ONCE) for left, size in adapters]
    written = kept + max(copies, default=0.0) + RECORD_BYTES * records + SLACK_BYTES
    return {Path(constants.HF_HUB_CACHE): download, results: written}
