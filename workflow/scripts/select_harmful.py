"""Choose the harmful prompts of all sources and put them into one file."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.data.harmful import select_harmful

    choices = snakemake.params.harmful
    raw = dict(zip(choices, snakemake.input.raw, strict=True))
    select_harmful(raw, choices, snakemake.output.prompts, snakemake.output.manifest)
