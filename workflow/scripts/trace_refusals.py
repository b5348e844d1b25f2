"""Follow the base model's refusals with a run: what competes with the refusal at the first tokens."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from pathlib import Path

    from formsafe.config.settings.base import restored
    from formsafe.config.settings.models import ModelSettings
    from formsafe.core.startup import lean_imports, unused_imports
    from formsafe.models.devices import claim_device

    model = restored(ModelSettings, snakemake.params.model, snakemake.config["models"][snakemake.wildcards.model])
    if snakemake.resources.get("gpu"):
        claim_device(model.device)
    with lean_imports(*unused_imports(model.inference_quantisation)):
        from formsafe.scoring.first_tokens import TraceJob, trace_refusals

    folders = {name: snakemake.input.get(name) for name in ("adapter", "soft_prompt")}
    job = TraceJob(
        model_manifest=snakemake.input.model,
        prompts=snakemake.input.prompts,
        base_answers=snakemake.input.base_answers,
        training=dict(zip(snakemake.params.formats, snakemake.input.training, strict=True)),
        traces=snakemake.output.traces,
        metrics=snakemake.output.metrics,
        model=model,
        depth=snakemake.params.depth,
        system_prompt=snakemake.params.system_prompt,
        gpu_memory_gb=snakemake.params.gpu_memory_gb,
        threads=snakemake.threads,
        code=snakemake.params.code,
        **{name: Path(paths[0]).parent if paths else None for name, paths in folders.items()},
    )
    trace_refusals(job)
