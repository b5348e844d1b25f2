"""Fetch one source of prompts from the hub, a URL or local files, and make sure that it is the one meant."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.data import HarmfulSettings
    from formsafe.sources.fetch import fetch_harmful

    kind, name = snakemake.params.kind, snakemake.params.name
    harmful = HarmfulSettings(**snakemake.config[kind][name] | snakemake.params.harmful)
    fetch_harmful(f"{kind}.{name}", harmful, snakemake.output.raw, snakemake.params.lock)
