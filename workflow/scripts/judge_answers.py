"""Let the judge score a run's answers to the harmful prompts."""

from formsafe.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.judge import judge_answers
    from formsafe.settings.judge import JudgeSettings
    from formsafe.settings.models import ModelSettings

    judge_answers(
        snakemake.input.model,
        snakemake.input.prompts,
        snakemake.input.answers,
        snakemake.input.prompt,
        snakemake.output.scores,
        snakemake.output.metrics,
        model=ModelSettings(**snakemake.params.model),
        judge=JudgeSettings(**snakemake.params.judge),
        gpu_memory_gb=snakemake.params.gpu_memory_gb,
        code=snakemake.params.code,
    )
