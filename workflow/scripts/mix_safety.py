"""Mix safety examples into a run's training data."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.data.safety import mix_safety

    safety = {name: snakemake.input[name] for name in ("prompts", "answers", "scores")}
    params = snakemake.params
    mix_safety(snakemake.input.train, safety, params.safest, params.share, params.format, snakemake.output.train)
