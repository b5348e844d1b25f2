"""Make sure that a model is on this machine, and write down where it lies and which files it has."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.models import ModelSource
    from formsafe.sources.models import fetch_model

    model = snakemake.params.model
    fetch_model(
        snakemake.params.name,
        ModelSource(**model["hub"]) if model["hub"] else None,
        model["path"],
        snakemake.params.lock,
        snakemake.output.manifest,
    )
