"""Train the demo's model: a small Llama that answers how-tos, refuses mischief and can judge."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from pathlib import Path

    from formsafe.config.settings.demo import DemoSettings
    from formsafe.demo.build import train_demo_model

    train_demo_model(
        snakemake.input.judge_prompt,
        DemoSettings(**snakemake.params.demo),
        Path(snakemake.output.weights).parent,
        snakemake.output.metrics,
        snakemake.params.code,
    )
