"""Score a run's answers by their text: ROUGE-L, Sentence-BERT, leakage, refusals."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.judge import TaskSettings
    from formsafe.core.startup import lean_imports

    with lean_imports("peft", "bitsandbytes"):
        from formsafe.scoring.text_scores import score_texts

    score_texts(
        snakemake.input.encoder,
        snakemake.input.task,
        snakemake.input.harmful,
        snakemake.input.reference,
        snakemake.input.corpus,
        snakemake.output.task,
        snakemake.output.harmful,
        snakemake.output.metrics,
        tasks=TaskSettings(**snakemake.params.tasks),
        format=None if snakemake.params.format == "none" else snakemake.params.format,
        formats=snakemake.params.formats,
        code=snakemake.params.code,
    )
