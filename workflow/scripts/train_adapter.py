"""SFT, or stage 2 of ProMoT if there is a soft prompt: train a LoRA adapter."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from pathlib import Path

    from formsafe.config.settings.training import AdapterSettings
    from formsafe.training.job import start_training

    settings = AdapterSettings(**snakemake.params.adapter)
    inputs = start_training(snakemake, settings.optimiser, snakemake.params.arm)
    from formsafe.training.stages import train_adapter

    soft_prompt = Path(snakemake.input.soft_prompt[0]).parent if snakemake.input.soft_prompt else None
    train_adapter(inputs, settings, snakemake.params.learning_rate, soft_prompt)
