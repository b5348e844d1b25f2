"""Score a run's answers by their text: ROUGE-L, Sentence-BERT, leakage, refusals, degenerate answers."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.judge import TaskSettings
    from formsafe.core.startup import lean_imports

    with lean_imports("peft", "bitsandbytes"):
        import sentence_transformers  # noqa: F401  (a quarter sooner here than where it is used)

        from formsafe.scoring.text_scores import TextJob, score_texts

    inputs, outputs, params = snakemake.input, snakemake.output, snakemake.params
    job = TextJob(
        encoder=inputs.encoder,
        task=inputs.task,
        others={name: inputs[name] for name in params.others},
        reference=inputs.reference,
        corpus=inputs.corpus,
        scores={name: outputs[name] for name in ("task", *params.others)},
        metrics=outputs.metrics,
        tasks=TaskSettings(**params.tasks),
        format=None if params.format == "none" else params.format,
        formats=params.formats,
        code=params.code,
        more_references=dict(zip(params.more_references, inputs.get("more_references", []), strict=True)),
    )
    score_texts(job)
