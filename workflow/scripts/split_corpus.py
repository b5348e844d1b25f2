"""Draw training, validation and test examples from the raw corpus and split them into sentences."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.data import Splits
    from formsafe.data.corpus import split_corpus

    corpus = snakemake.params.corpus
    split_corpus(
        raw=snakemake.input.raw,
        splits=Splits(**corpus["splits"]),
        seed=corpus["seed"],
        instruction=corpus["instruction"],
        outputs=dict(snakemake.output.items()),
    )
