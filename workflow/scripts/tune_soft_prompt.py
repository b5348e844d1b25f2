"""Stage 1 of ProMoT: tune a soft prompt on the frozen model."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from pathlib import Path

    from formsafe.config.settings.models import ModelSettings
    from formsafe.config.settings.training import SoftPromptSettings, TrainingSettings
    from formsafe.core.startup import lean_imports, unused_imports
    from formsafe.models.devices import claim_device

    model = ModelSettings(**snakemake.params.model)
    if snakemake.resources.get("gpu"):
        claim_device(model.device)
    settings = SoftPromptSettings(**snakemake.params.soft_prompt)
    with lean_imports(*unused_imports(model.quantisation, settings.optimiser)):
        from formsafe.training.stages import Inputs, tune_soft_prompt

    inputs = Inputs(
        manifest=snakemake.input.model,
        model=model,
        train=snakemake.input.train,
        validation=snakemake.input.validation,
        folder=Path(snakemake.output.metrics).parent,
        training=TrainingSettings(**{**snakemake.config["training"], **snakemake.params.training}),
        seed=snakemake.params.seed,
        system_prompt=snakemake.params.system_prompt,
        gpu_memory_gb=snakemake.config.get("gpu_memory_gb", "auto"),
        code=snakemake.params.code,
    )
    tune_soft_prompt(inputs, settings)
