"""Is everything there, and what will it cost? One page before anything is queued, and a verdict."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.study import StudySettings
from formsafe.core.layout import Layout
from formsafe.models import memory
from formsafe.models.context import ModelContext, read_context
from formsafe.models.shapes import ModelShape
from formsafe.preflight.checks import Check, page, verdict
from formsafe.preflight.data_checks import (
    check_corpus,
    check_harmful,
    check_judge,
    check_labels,
    check_rows,
    check_steps,
    check_writable,
)
from formsafe.preflight.machine_checks import (
    Gpu,
    check_disk,
    check_four_bit,
    check_gpu,
    find_gpu,
    four_bit_device,
    gpu_fault,
)
from formsafe.preflight.model_checks import check_build, check_chat
from formsafe.preflight.server_check import check_server
from formsafe.preflight.slurm_checks import SlurmRequest, check_slurm
from formsafe.preflight.source_checks import Sources
from formsafe.preflight.stage_costs import STAGES, Cost, Work, estimate, optimiser_steps, table
from formsafe.sources.hub_probe import hub_answers

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


@dataclass(frozen=True)
class Planned:
    """What the workflow knows of a study beside its configuration.

    Attributes:
        jobs: metrics files by stage (`soft prompts`, `adapters`, `answers`, `judge`), with `model=` in their paths.
        lock: the lock of sources.
        made: folders that the workflow fills by itself.
        systems: system prompts that the methods use.
        slurm: what the Slurm profile asks for; None where the study does not run by Slurm.
    """

    jobs: Mapping[str, Sequence[str]]
    lock: str
    made: Sequence[str] = ()
    systems: Sequence[str | None] = (None,)
    slurm: SlurmRequest | None = None


def preflight(plan: StudySettings, planned: Planned) -> tuple[bool, str]:
    """Check everything and estimate the costs; returns go or no-go, and the page."""
    layout, works = Layout(plan.study), works_of(plan, planned.jobs)
    results = Path(layout.root)
    models = {name: plan.models[name] for name in sorted({work.model for work in works})}
    gpu, machine = _look_at_machine(models)
    sources = Sources(_needs_hub(plan, models) and hub_answers(), planned.lock, planned.made)
    found, folders, download = _look_at_sources(plan, models, sources, layout)
    card = Card(gpu.name, gpu.total / 1e9) if gpu else Card("a GPU", _class_of(plan.gpu_memory_gb))
    contexts = contexts_of(plan, models, folders, gpu, card)
    found += _look_at_models(plan, works, contexts, folders, planned.systems)
    found += [*check_steps(plan), *check_labels(_labels(plan, works))]
    shapes = {name: context.shape for name, context in contexts.items()}
    machine += check_disk(disk_needs(plan, works, shapes, results, download))
    machine += check_writable([results, Path("logs"), Path(".snakemake")])
    if planned.slurm and any(model.device != "cpu" for model in models.values()):
        machine += check_slurm(planned.slurm)
    figures = [cost_of(work, plan, contexts[work.model], gpu, results) for work in works]
    checks = [*machine, *found, *check_memory(figures, card, plan.gpu_memory_gb, gpu)]
    title = f"Preflight of the study {plan.study}: {len(planned.jobs['answers'])} runs, {len(models)} models"
    unseen = "" if gpu else " (no GPU here; gpu_memory_gb chooses its memory)"
    on_gpu = any(figure.memory_bytes is not None for figure in figures)
    heading = f"Costs on {card.name}, {card.memory_gb:.0f} GB{unseen}" if on_gpu else "Costs on this machine's CPU"
    return verdict(checks)[0], page(title, checks, table(figures, heading))


def _look_at_models(
    plan: StudySettings,
    works: Sequence[Work],
    contexts: Mapping[str, ModelContext],
    folders: Mapping[str, Path | None],
    systems: Sequence[str | None],
) -> list[Check]:
    """Whether models can be instructed, built and adapted, and whether judges have room for their prompts."""
    trained, checks = {work.model for work in works if work.trains}, []
    for name, context in contexts.items():
        checks.append(check_chat(name, context.settings, folders[name], systems))
        checks += check_build(name, context, folders[name], plan.adapter.lora if name in trained else None)
    for name, judge in plan.used_judges.items():
        folder, longest = folders.get(judge.model), plan.generation.max_new_tokens
        checks.append(check_judge(name, judge, plan.models[judge.model], folder, longest))
    return checks


def _labels(plan: StudySettings, works: Sequence[Work]) -> dict[str, str]:
    """The labels of this study by their keys."""
    models = {f"models.{work.model}.label": plan.models[work.model].label for work in works}
    methods = {name for block in plan.grid for name in block.methods}
    return models | {f"methods.{name}.label": plan.methods[name].label for name in sorted(methods)}


def _class_of(gpu_memory_gb: int | str) -> float:
    return UNSEEN_GB if isinstance(gpu_memory_gb, str) else float(gpu_memory_gb)


def works_of(plan: StudySettings, jobs: Mapping[str, Sequence[str]]) -> list[Work]:
    """The study's jobs by stage and model, less what a server does; the judge's all belong to its own model."""
    harmful, examples = sum(source.count for source in plan.harmful.values()), plan.corpus.splits.train
    units = {
        "soft prompts": optimiser_steps(plan.soft_prompt, examples),
        "adapters": optimiser_steps(plan.adapter, examples),
        "answers": harmful + plan.corpus.splits.test,
        "judge": harmful,
    }
    stages = {"soft prompts": plan.soft_prompt, "adapters": plan.adapter}
    works = []
    servers = {"answers": plan.generation.server, "judge": plan.headline.generation.server}
    for stage in (stage for stage in STAGES if servers.get(stage) is None):
        by_model: dict[str, list[str]] = {}
        for job in jobs[stage]:
            by_model.setdefault(plan.headline.model if stage == "judge" else model_of(job), []).append(job)
        settings = stages.get(stage)
        batch = settings.batch_size * settings.gradient_accumulation if settings else 0
        decoding = plan.headline.generation if stage == "judge" else plan.generation
        works += [
            Work(stage, name, found, units[stage], batch, decoding.max_new_tokens) for name, found in by_model.items()
        ]
    return works


def model_of(path: str) -> str:
    """The model in a path of the form `.../model=NAME/...`."""
    return next(part for part in Path(path).parts if part.startswith("model=")).removeprefix("model=")


def contexts_of(
    plan: StudySettings,
    models: Mapping[str, ModelSettings],
    folders: Mapping[str, Path | None],
    gpu: Gpu | None,
    card: Card,
) -> dict[str, ModelContext]:
    """What the jobs will know of each model, on the device that they will have."""
    memory_gb = card.memory_gb if plan.gpu_memory_gb == "auto" else plan.gpu_memory_gb
    contexts = {}
    for name, model in models.items():
        on_gpu = model.device == "cuda" or (model.device == "auto" and gpu is not None)
        contexts[name] = read_context(folders[name], model, memory_gb, "cuda" if on_gpu else "cpu")
    return contexts


def cost_of(work: Work, plan: StudySettings, context: ModelContext, gpu: Gpu | None, results: Path) -> Cost:
    """Cost of a job of `work`, with the GPU memory that it plans for."""
    on_gpu = context.device == "cuda"
    device = f"cpu ({platform.machine()})" if not on_gpu else None if gpu is None else gpu.name
    seconds, basis = estimate(work, context.settings.parameters, results, device)
    if not on_gpu:
        return Cost(work, seconds, basis)
    settings = plan.soft_prompt if work.stage == "soft prompts" else plan.adapter
    rank = plan.adapter.lora.r if work.stage in ("adapters", "answers") else 0
    if work.trains:
        batch = memory.TrainingBatch(settings.batch_size, settings.gradient_accumulation, LONGEST_EXAMPLE, rank)
        training = memory.plan_training(context, batch)
        tokens = training.micro_batch_size * LONGEST_EXAMPLE
        size = memory.training_bytes(context, tokens, training.gradient_checkpointing, rank)
    else:
        size = memory.inference_bytes(context, memory.plan_inference(context, rank), rank)
    return Cost(work, seconds, basis, size)


def check_memory(figures: Sequence[Cost], card: Card, wanted: int | str, gpu: Gpu | None) -> list[Check]:
    """Whether the plans fit the card, and whether the plan is for a larger card than the one here."""
    allowed = min(card.memory_gb, wanted) if isinstance(wanted, int) else card.memory_gb
    remedy = "Use more GPU memory (gpu_memory_gb), quantisation nf4, a smaller training.max_length, or a smaller model."
    checks = [
        Check(COSTS, f"{figure.work.stage} memory", "no", _too_large(figure, card, allowed), remedy)
        for figure in figures
        if figure.memory_bytes is not None and figure.memory_bytes > allowed * 1e9
    ]
    if gpu is not None and isinstance(wanted, int) and wanted * 1e9 > gpu.total * 1.1:
        detail = f"gpu_memory_gb is {wanted}, the GPU here has {gpu.total / 1e9:.0f} GB"
        checks.append(Check(COSTS, "memory plan", "no", detail, "Set gpu_memory_gb to auto, or to what the GPUs have."))
    return checks


def _too_large(figure: Cost, card: Card, allowed: float) -> str:
    need, limit = (figure.memory_bytes or 0) / 1e9, f"{card.name} has {card.memory_gb:.0f} GB"
    if allowed < card.memory_gb:
        limit = f"gpu_memory_gb is {allowed:.0f}"
    return f"{figure.work.model} needs {need:.0f} GB, {limit}"


def disk_needs(
    plan: StudySettings, works: Sequence[Work], shapes: Mapping[str, ModelShape], results: Path, download: float
) -> dict[Path, float]:
    """Bytes that the study will write below the hub's cache and below its results."""
    from huggingface_hub import constants

    records = sum(work.left * work.units for work in works if not work.trains)
    adapters = [(work.left, shapes[work.model].lora_parameters(plan.adapter.lora.r)) for work in works if work.trains]
    kept = sum(ADAPTER_BYTES * left * size for left, size in adapters)
    copies = [CHECKPOINT_COPIES * ADAPTER_BYTES * size * min(left, JOBS_AT_ONCE) for left, size in adapters]
    written = kept + max(copies, default=0.0) + RECORD_BYTES * records + SLACK_BYTES
    return {Path(constants.HF_HUB_CACHE): download, results: written}


def _look_at_machine(models: Mapping[str, ModelSettings]) -> tuple[Gpu | None, list[Check]]:
    """The GPU that models are computed on, if one can be used, and its checks."""
    devices, dtypes = ({name: getattr(model, key) for name, model in models.items()} for key in ("device", "dtype"))
    fault = gpu_fault(devices.values())
    gpu = None if fault or set(devices.values()) <= {"cpu"} else find_gpu()
    quantised = [model.device for model in models.values() if "nf4" in _quantisations(model)]
    four_bit = check_four_bit(four_bit_device(quantised, gpu), bool(quantised))
    return gpu, [fault or check_gpu(gpu, devices, dtypes), four_bit]


def _look_at_sources(
    plan: StudySettings, models: Mapping[str, ModelSettings], sources: Sources, layout: Layout
) -> tuple[list[Check], dict[str, Path | None], float]:
    """Checks of models, data and prompts; folders of models that are here; bytes to fetch."""
    checks, download = [], 0.0
    folders: dict[str, Path | None] = {}
    for name, model in models.items():
        check, folders[name], size = sources.model(name, model.hub, model.path)
        checks.append(sources.fetched_model(name, layout.model(name)) or check)
        download += 2 * model.parameters if size is None and folders[name] is None else size or 0
    check, _, size = sources.model("encoder", plan.tasks.encoder.hub, plan.tasks.encoder.path)
    servers = {"answers' server": plan.generation.server}
    servers |= {f"server of judge {name}": judge.generation.server for name, judge in plan.used_judges.items()}
    checks += [check_server(name, server, os.environ) for name, server in servers.items() if server is not None]
    checks += [check, *sources.network(), sources.token(), check_corpus(plan.corpus, sources, layout)]
    checks += [check_harmful(name, source, sources, layout) for name, source in plan.harmful.items()]
    checks += check_rows(plan, layout)
    return checks, folders, download + (size or 0)


def _needs_hub(plan: StudySettings, models: Mapping[str, ModelSettings]) -> bool:
    loaded = [plan.tasks.encoder.hub, *(model.hub for model in models.values())]
    data = [plan.corpus.source.hub, *(entry.source.hub for entry in plan.harmful.values())]
    return any(place is not None for place in (*loaded, *data))


def _quantisations(model: ModelSettings) -> set[str]:
    return {model.quantisation, model.inference_quantisation}
