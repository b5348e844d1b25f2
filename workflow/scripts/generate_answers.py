"""Answer the prompt sets that the rule has an output for: harmful and task, benign, or those of safety examples."""

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

    answers = {name: path for name, path in snakemake.output.items() if name != "metrics"}
    job = AnswerJob(
        model_manifest=snakemake.input.model,
        prompts={name: snakemake.input[name] for name in answers},
        answers=answers,
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
