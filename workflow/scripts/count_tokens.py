"""Count the training tokens of every format with one model's tokenizer."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.data.token_counts import count_tokens

    train = dict(zip(snakemake.params.formats, snakemake.input.train, strict=True))
    count_tokens(snakemake.input.model, train, snakemake.output.counts)
