"""Stage 1 of ProMoT: tune a soft prompt on the frozen model."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.training import SoftPromptSettings
    from formsafe.training.job import start_training

    settings = SoftPromptSettings(**snakemake.params.soft_prompt)
    inputs = start_training(snakemake, settings.optimiser)
    from formsafe.training.stages import tune_soft_prompt

    tune_soft_prompt(inputs, settings)
