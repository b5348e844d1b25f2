"""What a model can still do: benchmarks of lm-eval on base models and adapters, with their errors."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from formsafe.config.settings.capability import CapabilitySettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, write_json
from formsafe.core.provenance import stage_record
from formsafe.sources.models import model_folder


@dataclass(frozen=True)
class Ability:
    """One figure of one task; `stderr` is None where lm-eval gives none."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int


def evaluate(
    model_manifest: str | Path,
    adapter: str | Path | None,
    model: ModelSettings,
    settings: CapabilitySettings,
    output: str | Path,
    code: str,
) -> None:
    """Run the tasks on one model and write the figures.

    Args:
        model_manifest: JSON with the model's `path`.
        adapter: a file in the folder of the run's adapter; None for a base model.
        model: the model's settings.
        settings: tasks, examples in the prompt, limit.
        output: JSON to write: `abilities` (a list of `Ability`) and the stage's record.
        code: digest of the code.

    Raises:
        FormsafeError: lm-eval is not installed, knows no such task, or cannot reach a task's data.
    """
    started, (lm_eval, task_manager) = time.time(), _lm_eval()
    arguments: dict[str, Any] = {"pretrained": str(model_folder(read_json(model_manifest))), "trust_remote_code": False}
    arguments |= {"dtype": model.dtype} if model.dtype != "auto" else {}
    arguments |= {"peft": str(Path(adapter).parent)} if adapter is not None else {}
    device = "cpu" if model.device == "cpu" else None
    options: dict[str, Any] = {
        "num_fewshot": settings.few_shots,
        "limit": settings.limit,
        "batch_size": settings.batch_size,
    }
    options |= {"apply_chat_template": settings.chat_template, "random_seed": settings.seed, "device": device}
    options |= {"tasks": list(settings.tasks), "task_manager": _tasks(task_manager, settings)}
    try:
        found = lm_eval.simple_evaluate(model="hf", model_args=arguments, **options)
    except OSError as error:  # ConnectionError and the hub's errors among them
        raise FormsafeError(
            f"A task's data cannot be reached ({type(error).__name__}). Fetch it once where there is network "
            "(the cache of HF_HOME serves later runs), or name local tasks under capability.task_folder."
        ) from None
    abilities = list(map(asdict, abilities_of(found)))
    write_json(output, {"abilities": abilities} | stage_record(started, code, settings.seed))


def _tasks(task_manager: Any, settings: CapabilitySettings) -> Any:
    """The tasks that lm-eval knows; every task of the settings must be among them."""
    known = task_manager(include_path=settings.task_folder)
    if unknown := [name for name in settings.tasks if not known.match_tasks([name])]:
        raise FormsafeError(f"capability.tasks: lm-eval knows no task {unknown[0]}. See `lm-eval ls tasks`.")
    return known


def _lm_eval() -> tuple[Any, Any]:
    """The package and its task manager; it has an environment of its own."""
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise FormsafeError(
            "lm-eval is not installed here. Run with `--sdm conda`, which makes its own environment from "
            "envs/capability.yaml, or install lm-eval."
        ) from None
    return lm_eval, TaskManager


def abilities_of(found: Mapping[str, Any]) -> list[Ability]:
    """lm-eval's results as records: `acc,none` with its error `acc_stderr,none` becomes one figure."""
    abilities = []
    for task, figures in sorted(found["results"].items()):
        n = found.get("n-samples", {}).get(task, {}).get("effective", 0)
        for name, value in sorted(figures.items()):
            metric, _, filtered = name.partition(",")
            if metric.endswith("_stderr") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not filtered or math.isnan(value):
                continue
            error = figures.get(f"{metric}_stderr,{filtered}")
            stderr = float(error) if isinstance(error, int | float) and not math.isnan(error) else None
            label = metric if filtered == "none" else f"{metric} ({filtered})"
            abilities.append(Ability(task, label, float(value), stderr, int(n)))
    return abilities
