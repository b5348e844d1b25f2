"""Answer a run's harmful and task prompts."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.base import restored
    from formsafe.config.settings.generation import GenerationSettings
    from formsafe.config.settings.models import ModelSettings
    from formsafe.core.startup import lean_imports, unused_imports
    from formsafe.models.devices import claim_device

    model = restored(ModelSettings, snakemake.params.model, snakemake.config["models"][snakemake.wildcards.model])
    if snakemake.resources.get("gpu"):
        claim_device(model.device)
    with lean_imports(*unused_imports(model.inference_quantisation)):
        from formsafe.generation.answers import AnswerJob, answer_prompts

    job = AnswerJob(
        model_manifest=snakemake.input.model,
        prompts={"harmful": snakemake.input.harmful, "task": snakemake.input.task},
        answers={"harmful": snakemake.output.harmful, "task": snakemake.output.task},
        metrics=snakemake.output.metrics,
        model=model,
        generation=restored(GenerationSettings, snakemake.params.generation, snakemake.config["generation"]),
        system_prompt=snakemake.params.system_prompt,
        gpu_memory_gb=snakemake.params.gpu_memory_gb,
        code=snakemake.params.code,
        adapter=next(iter(snakemake.input.adapter), None),
        soft_prompt=next(iter(snakemake.input.soft_prompt), None),
    )
    answer_prompts(job)
