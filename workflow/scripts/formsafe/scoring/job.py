"""What both judging scripts do first: read their Snakemake job and start the process."""

from typing import TYPE_CHECKING, Any

from formsafe.config.settings.base import restored
from formsafe.config.settings.judge import JudgeSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.startup import lean_imports, unused_imports
from formsafe.models.devices import claim_device

if TYPE_CHECKING:
    from formsafe.scoring.judge import Judging


def start_judging(job: Any) -> "Judging":
    """Claim a GPU, import the judging stages without what they do not need, and return the judge.

    Args:
        job: the `snakemake` object of the script.
    """
    configured = job.config["judges"][job.params.name]
    judge = restored(JudgeSettings, job.params.judge, configured)  # rules leave its threshold out, too
    model = restored(ModelSettings, job.params.model, job.config["models"][configured["model"]])
    if job.resources.get("gpu"):
        claim_device(model.device)  # before torch is imported: it fixes the visible cards at its import
    with lean_imports(*unused_imports(model.inference_quantisation)):
        from formsafe.scoring.judge import Judging
    return Judging(
        name=job.params.name,
        judge=judge,
        model=model,
        manifest=next(iter(job.input.model), None),
        template=next(iter(job.input.prompt), None),
        gpu_memory_gb=job.params.gpu_memory_gb,
        code=job.params.code,
    )
