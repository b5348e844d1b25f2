"""Write a run's manifest: what made its results."""

from formsafe.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.manifest import describe_run

    stages = {name: snakemake.input.get(name) for name in ("soft_prompt", "adapter", "answers", "judge", "texts")}
    describe_run(snakemake.params.run, snakemake.params.settings, stages, snakemake.output.manifest)
