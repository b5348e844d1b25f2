"""Fetch the how-to articles from the hub, a URL or local files."""

from formsafe.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.fetch import fetch_corpus
    from formsafe.settings.data import DataSource

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
