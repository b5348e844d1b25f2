"""Let a judge score a run's answers to a prompt set."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.scoring.job import start_judging

    stage = start_judging(snakemake)
    from formsafe.scoring.judge import judge_answers

    files = snakemake.input, snakemake.output
    judge_answers(stage, files[0].prompts, files[0].answers, files[1].scores, files[1].metrics)
