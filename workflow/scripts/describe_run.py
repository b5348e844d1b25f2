"""Write a run's manifest: what made its results."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.core.manifest import describe_run

    inputs, params = snakemake.input, snakemake.params
    stages = {name: inputs.get(name) for name in ("soft_prompt", "adapter", "answers", "benign", "judge", "texts")}
    sources = {
        name: inputs.get(name)
        for name in ("model", "judge_models", "encoder", "corpus", "format", "harmful", "prompts", "benign_prompts")
    }
    describe_run(params.run, params.settings, stages, sources, snakemake.output.manifest)
