"""What both training scripts do first: read their Snakemake job and start the process."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formsafe.config.settings.base import restored
from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.training import TrainingSettings
from formsafe.core.startup import lean_imports, unused_imports
from formsafe.models.devices import claim_device

if TYPE_CHECKING:
    from formsafe.training.plan import Inputs


def start_training(job: Any, optimiser: str, arm: Mapping[str, Any] | None = None) -> "Inputs":
    """Claim a GPU, import the training stages without what they do not need, and return their inputs.

    Args:
        job: the `snakemake` object of the script.
        optimiser: name of the optimiser; some need bitsandbytes.
        arm: fields of `Arm` as builtins, in stage 2.
    """
    model = restored(ModelSettings, job.params.model, job.config["models"][job.wildcards.model])
    training = restored(TrainingSettings, job.params.training, job.config["training"])
    folder = Path(job.output.metrics).parent
    prepare_reports(training.report_to, folder)
    if job.resources.get("gpu"):
        claim_device(model.device)  # before torch is imported: it fixes the visible cards at its import
    # what reports may need every package
    with lean_imports(*(() if training.report_to else unused_imports(model.quantisation, optimiser))):
        from formsafe.training.arm import Arm
        from formsafe.training.stages import Inputs

    return Inputs(
        manifest=job.input.model,
        model=model,
        train=job.input.train,
        validation=job.input.validation,
        folder=folder,
        training=training,
        seed=job.params.seed,
        system_prompt=job.params.system_prompt,
        gpu_memory_gb=job.config.get("gpu_memory_gb", "auto"),
        code=job.params.code,
        arm=Arm(**(arm or {})),
    )


def prepare_reports(services: Sequence[str], folder: Path) -> None:
    """Say by environment variables where reports go, and that they are losses and settings only.

    TensorBoard's files are in the training's folder, so that `tensorboard --logdir results/paper/runs` shows each by
    its path. W&B would send what the job prints, and its code, as well.
    """
    if "tensorboard" in services:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    if "wandb" in services:
        os.environ |= {"WANDB_CONSOLE": "off", "WANDB_DISABLE_CODE": "true", "WANDB_DISABLE_GIT": "true"}
