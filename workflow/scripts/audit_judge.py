"""Judge a sample of answers again in every format, to see whether the judge minds the format."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.base import restored
    from formsafe.config.settings.judge import AuditSettings, JudgeSettings
    from formsafe.config.settings.models import ModelSettings
    from formsafe.core.startup import lean_imports, unused_imports
    from formsafe.models.devices import claim_device

    configured = snakemake.config["judges"][snakemake.params.name]
    judge = restored(JudgeSettings, snakemake.params.judge, configured)
    model = restored(ModelSettings, snakemake.params.model, snakemake.config["models"][configured["model"]])
    if snakemake.resources.get("gpu"):
        claim_device(model.device)
    with lean_imports(*unused_imports(model.inference_quantisation)):
        from formsafe.scoring.format_audit import audit_judge

    audit_judge(
        next(iter(snakemake.input.model), None),
        snakemake.input.prompts,
        snakemake.input.answers,
        snakemake.input.prompt,
        snakemake.output.scores,
        snakemake.output.metrics,
        runs=snakemake.params.runs,
        formats=snakemake.params.formats,
        model=model,
        judge=judge,
        audit=AuditSettings(**snakemake.params.audit),
        gpu_memory_gb=snakemake.params.gpu_memory_gb,
        code=snakemake.params.code,
    )
