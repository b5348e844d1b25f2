"""Fetch one source of harmful prompts from the hub, a URL or local files, and make sure that it is the one meant."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.data import DataSource
    from formsafe.sources.fetch import ExpectedPrompts, fetch_harmful

    harmful = dict(snakemake.params.harmful)
    fetch_harmful(
        name=snakemake.params.name,
        source=DataSource(**harmful.pop("source")),
        licence=harmful.pop("licence"),
        expected=ExpectedPrompts(**harmful),
        lock=snakemake.params.lock,
        raw=snakemake.output.raw,
        manifest=snakemake.output.manifest,
    )
