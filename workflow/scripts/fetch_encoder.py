"""Make sure that the sentence encoder is on this machine, and write down where it lies and which files it has."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.models import ModelSource
    from formsafe.sources.models import fetch_model

    encoder = snakemake.params.encoder
    fetch_model(
        "encoder",
        ModelSource(**encoder["hub"]) if encoder["hub"] else None,
        encoder["path"],
        snakemake.params.lock,
        snakemake.output.manifest,
        needed="modules.json",
    )
