"""Write the corpus in one format as training data, with the certificate that nothing was lost."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.data.certificate import render_format

    corpus = dict(snakemake.input.items())
    outputs = {split: snakemake.output[split] for split in corpus}
    render_format(snakemake.params.format, corpus, outputs, snakemake.output.certificate, snakemake.params.instruction)
