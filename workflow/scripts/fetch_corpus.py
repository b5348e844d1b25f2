"""Fetch the how-to articles from the hub, a URL or local files."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.data import CorpusSettings
    from formsafe.sources.fetch import fetch_corpus

    corpus = CorpusSettings(**snakemake.config["corpus"] | snakemake.params.corpus)
    fetch_corpus(corpus, snakemake.output.raw, snakemake.params.lock)
