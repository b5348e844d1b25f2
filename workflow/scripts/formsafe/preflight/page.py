"""Is everything there, and what will it cost? One page before anything is queued, and a verdict."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formsafe.config.loading import models_of, runs_of
from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.study import StudySettings
from formsafe.core.layout import Layout
from formsafe.models.context import ModelContext
from formsafe.preflight import data_checks, machine_checks
from formsafe.preflight.checks import Check, page, verdict
from formsafe.preflight.model_checks import check_build, check_chat, check_encoder
from formsafe.preflight.slurm_checks import SlurmRequest, check_slurm
from formsafe.preflight.source_checks import Sources, check_served_chat, check_server
from formsafe.preflight.stage_costs import Work, table
from formsafe.preflight.study_costs import card_of, check_memory, contexts_of, cost_of, disk_needs, works_of
from formsafe.sources.hub_probe import hub_answers

Folders = Mapping[str, Path | None]  # of models; None where one is not here yet


@dataclass(frozen=True)
class Planned:
    """What the workflow knows of a study beside its configuration.

    Attributes:
        jobs: metrics files by stage (`soft prompts`, `adapters`, `answers`, `judge`), with `model=` in their paths.
        lock: the lock of sources.
        made: folders that the workflow fills by itself.
        slurm: what the Slurm profile asks for; None where the study does not run by Slurm.
    """

    jobs: Mapping[str, Sequence[str]]
    lock: str
    made: Sequence[str] = ()
    slurm: SlurmRequest | None = None


def preflight(study: StudySettings, planned: Planned) -> tuple[bool, str]:
    """Check everything and estimate the costs; returns go or no-go, and the page."""
    layout, works = Layout(study.study), works_of(study, planned.jobs)
    results = Path(layout.root)
    models = {name: study.models[name] for name in models_of(study)}
    # Of others only weights or the chat template are read: the base of a projection, a model that a server computes.
    used = {work.model for work in works}
    computed = {name: model for name, model in models.items() if name in used}
    gpu, machine = _look_at_machine(computed)
    needed: list[Any] = [study.tasks.encoder, study.corpus.source, *models.values()]
    needed += [entry.source for entry in study.sources.values()]
    sources = Sources(any(each.hub for each in needed) and hub_answers(), planned.lock, planned.made)
    found, folders, download = _look_at_sources(study, models, sources, layout)
    card = card_of(gpu, study.gpu_memory_gb)
    contexts = contexts_of(study, {name: folders[name] for name in computed}, gpu, card)
    found += _look_at_models(study, works, contexts, folders)
    found += [*data_checks.check_steps(study), *data_checks.check_labels(study, computed)]
    machine += machine_checks.check_reports(study.training.report_to)
    machine += machine_checks.check_disk(disk_needs(study, works, contexts, results, download))
    machine += machine_checks.check_writable([results, Path("logs"), Path(".snakemake")])
    if planned.slurm and any(model.device != "cpu" for model in computed.values()):
        machine += check_slurm(planned.slurm)
    costs = [cost_of(work, study, contexts[work.model], gpu, results) for work in works]
    checks = [*machine, *found, *check_memory(costs, card, study.gpu_memory_gb, gpu)]
    title = f"Preflight of the study {study.study}: {len(runs_of(study))} runs, {len(models)} models"
    heading = "Costs on this machine's CPU"
    if any(cost.memory_bytes is not None for cost in costs):
        unseen = "" if gpu else " (no GPU here; gpu_memory_gb chooses its memory)"
        heading = f"Costs on {card.name}, {card.memory_gb:.0f} GB{unseen}"
    return verdict(checks)[0], page(title, checks, table(costs, heading))


def _look_at_models(
    study: StudySettings, works: Sequence[Work], contexts: dict[str, ModelContext], folders: Folders
) -> list[Check]:
    """Whether models can be instructed, built and adapted, and whether judges have room for their prompts."""
    trained, checks = {work.model for work in works if work.trains}, []
    answering, server = {work.model for work in works if work.stage == "answers"}, study.generation.server
    for name, context in contexts.items():
        asked, taught = _system_prompts(study, name)
        if asked:  # a model that only judges has prompts of its own kind, which `check_judge` tries
            checks.append(check_chat(name, context.settings, folders[name], asked, taught))
            if checks[-1].state == "ok" and server is not None and name in answering:
                checks += filter(None, [check_served_chat(name, context.settings, folders[name], server)])
        checks += check_build(name, context, folders[name], study.adapter.lora if name in trained else None)
    for name, judge in study.all_judges.items():
        folder, longest = folders.get(judge.model), study.generation.max_new_tokens
        checks.append(data_checks.check_judge(name, judge, study.models[judge.model], folder, longest))
    return checks


def _system_prompts(study: StudySettings, model: str) -> tuple[list[str | None], list[str | None]]:
    """The system prompts that a model answers with, and those that it is trained with; None is to have none."""
    methods = [study.methods[run.method] for run in runs_of(study) if run.model == model]
    taught = [method.system_prompt_training for method in methods if method.trains_adapter]
    taught += [None for method in methods if method.soft_prompt]  # tuned without one
    return list(dict.fromkeys(method.system_prompt_test for method in methods)), list(dict.fromkeys(taught))


def _look_at_machine(models: Mapping[str, ModelSettings]) -> tuple[machine_checks.Gpu | None, list[Check]]:
    """The GPU that models are computed on, if one can be used, and its checks."""
    devices = {name: model.device for name, model in models.items()}
    dtypes = {name: model.dtype for name, model in models.items()}
    fault = machine_checks.gpu_fault(devices.values())
    gpu = None if fault or set(devices.values()) <= {"cpu"} else machine_checks.find_gpu()
    stages = [(model.device, model.quantisation, model.inference_quantisation) for model in models.values()]
    quantised = [device for device, *quantisations in stages if "nf4" in quantisations]
    four_bit = machine_checks.check_four_bit(machine_checks.four_bit_device(quantised, gpu), bool(quantised))
    return gpu, [fault or machine_checks.check_gpu(gpu, devices, dtypes), four_bit]


def _look_at_sources(
    study: StudySettings, models: Mapping[str, ModelSettings], sources: Sources, layout: Layout
) -> tuple[list[Check], dict[str, Path | None], float]:
    """Checks of models, data and prompts; folders of models that are here; bytes to fetch."""
    checks, download = [], 0.0
    folders: dict[str, Path | None] = {}
    for name, model in models.items():
        check, folders[name], size = sources.model(name, model.hub, model.path)
        checks.append(sources.fetched_model(name, layout.model(name)) or check)
        download += 2 * model.parameters if size is None and folders[name] is None else size or 0
    check, encoder, size = sources.model("tasks.encoder", study.tasks.encoder.hub, study.tasks.encoder.path)
    servers = {"answers' server": study.generation.server}
    servers |= {f"server of judge {name}": judge.generation.server for name, judge in study.all_judges.items()}
    checks += [check_server(name, server, os.environ) for name, server in servers.items() if server is not None]
    checks += [check, check_encoder(encoder), *sources.network(), sources.token()]
    checks.append(data_checks.check_corpus(study.corpus, sources, layout))
    for key, (name, prompts) in study.sources_by_key.items():
        checks.append(data_checks.check_prompts(key, name, prompts, sources, layout))
    checks += data_checks.check_rows(study, layout)
    return checks, folders, download + (size or 0)
