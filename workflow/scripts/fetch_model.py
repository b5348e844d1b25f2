"""Make sure that a model is on this machine, and write down where it lies and which files it has."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.models import ModelPlace
    from formsafe.sources.models import fetch_model

    params = snakemake.params
    fetch_model(params.name, ModelPlace(**params.model), params.lock, snakemake.output.manifest)
