"""Measure what a run's model can still do, with lm-eval."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.base import restored
    from formsafe.config.settings.capability import CapabilitySettings
    from formsafe.config.settings.models import ModelSettings
    from formsafe.core.startup import lean_imports, unused_imports
    from formsafe.models.devices import claim_device

    model = restored(ModelSettings, snakemake.params.model, snakemake.config["models"][snakemake.wildcards.model])
    if snakemake.resources.get("gpu"):
        claim_device(model.device)
    with lean_imports(*unused_imports(model.inference_quantisation)):
        from formsafe.scoring.capability import evaluate

    evaluate(
        snakemake.input.model,
        next(iter(snakemake.input.adapter), None),
        model,
        CapabilitySettings(**snakemake.params.capability),
        snakemake.output[0],
        snakemake.params.code,
    )
