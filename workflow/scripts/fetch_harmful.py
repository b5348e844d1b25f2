"""Fetch one source of harmful prompts from the hub, a URL or local files, and make sure that it is the one meant."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.data import DataSource
    from formsafe.sources.fetch import Fetched, Wanted, fetch_harmful

    harmful = snakemake.params.harmful
    configured = snakemake.config[snakemake.params.kind][snakemake.params.name]
    columns = {key: harmful[key] for key in ("prompt_column", "category_column")}
    wanted = Wanted(
        key=f"{snakemake.params.kind}.{snakemake.params.name}",
        source=DataSource(**harmful["source"]),
        licence=configured["licence"],
        columns={key: column for key, column in columns.items() if column is not None},
        rows=configured.get("rows"),
        digest=harmful["digest"],
    )
    fetch_harmful(wanted, Fetched(snakemake.output.raw, snakemake.output.manifest, snakemake.params.lock))
