"""Fetch the how-to articles from the hub, a URL or local files."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.data import DataSource
    from formsafe.sources.fetch import Fetched, Wanted, fetch_corpus

    corpus = {"rows": None, **snakemake.config["corpus"], **snakemake.params.corpus}
    wanted = Wanted(
        key="corpus",
        source=DataSource(**corpus["source"]),
        licence=corpus["licence"],
        columns={key: corpus[key] for key in ("title_field", "response_field")},
        rows=corpus["rows"],
    )
    fetch_corpus(wanted, Fetched(snakemake.output.raw, snakemake.output.manifest, snakemake.params.lock))
