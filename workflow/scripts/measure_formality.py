"""Measure how formal each format is for the base models, from the trainings' first validation."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.analysis.curves import write_formality

    certificates = dict(zip(snakemake.params.formats, snakemake.input.certificates, strict=True))
    write_formality(snakemake.input.losses, certificates, snakemake.output.formality)
