"""SafeLoRA: project a trained adapter on the direction of the model's alignment."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from pathlib import Path

    from formsafe.core.startup import UNUSED, lean_imports

    with lean_imports(*UNUSED, "bitsandbytes"):
        from formsafe.training.projection import project_adapter

    project_adapter(
        Path(snakemake.input.adapter[0]).parent,
        snakemake.input.base,
        snakemake.input.aligned,
        snakemake.params.threshold,
        Path(snakemake.output.metrics).parent,
        snakemake.params.code,
    )
