"""Let the judge score a run's answers to the harmful prompts."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.base import restored
    from formsafe.config.settings.judge import JudgeSettings
    from formsafe.config.settings.models import ModelSettings
    from formsafe.core.startup import lean_imports, unused_imports
    from formsafe.models.devices import claim_device

    configured = snakemake.config["judges"][snakemake.params.name]
    judge = restored(JudgeSettings, snakemake.params.judge, configured)
    model = restored(ModelSettings, snakemake.params.model, snakemake.config["models"][configured["model"]])
    if snakemake.resources.get("gpu"):
        claim_device(model.device)
    with lean_imports(*unused_imports(model.inference_quantisation)):
        from formsafe.scoring.judge import judge_answers

    judge_answers(
        next(iter(snakemake.input.model), None),
        snakemake.input.prompts,
        snakemake.input.answers,
        snakemake.input.prompt,
        snakemake.output.scores,
        snakemake.output.metrics,
        model=model,
        judge=judge,
        gpu_memory_gb=snakemake.params.gpu_memory_gb,
        code=snakemake.params.code,
    )
