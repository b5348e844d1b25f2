"""Fetch the how-to articles from the hub, a URL or local files."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.data import DataSource
    from formsafe.sources.fetch import fetch_corpus

    corpus = snakemake.params.corpus
    fetch_corpus(
        source=DataSource(**corpus["source"]),
        licence=corpus["licence"],
        response_field=corpus["response_field"],
        rows=corpus["rows"],
        lock=snakemake.params.lock,
        raw=snakemake.output.raw,
        manifest=snakemake.output.manifest,
    )
