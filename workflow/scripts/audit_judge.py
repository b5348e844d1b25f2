"""Judge a sample of answers again in every format, to see whether the format changes the score."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.judge import AuditSettings
    from formsafe.scoring.job import start_judging

    stage = start_judging(snakemake)
    from formsafe.scoring.format_audit import Sample, audit_judge

    params, inputs = snakemake.params, snakemake.input
    sample = Sample(inputs.prompts, inputs.answers, params.runs, params.formats, AuditSettings(**params.audit))
    audit_judge(stage, sample, snakemake.output.scores, snakemake.output.metrics)
