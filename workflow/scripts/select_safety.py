"""Choose the prompts of safety examples: rows of a harmful source that the study does not test."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.data.safety import select_safety

    safety = snakemake.params.safety
    select_safety(
        safety["source"],
        snakemake.input.raw,
        snakemake.input.tested,
        safety["overlap"],
        safety["seed"],
        snakemake.output.prompts,
    )
