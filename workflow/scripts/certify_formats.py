"""Check that all formats carry the same content."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.data.certificate import certify_formats

    certify_formats(snakemake.input.certificates, snakemake.output.certificate)
