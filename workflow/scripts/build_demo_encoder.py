"""Build the demo's sentence encoder from the embeddings of the demo's model."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from pathlib import Path

    from formsafe.config.settings.demo import DemoSettings
    from formsafe.demo.encoder import build_demo_encoder

    build_demo_encoder(
        snakemake.input.weights,
        snakemake.input.tokenizer,
        DemoSettings(**snakemake.params.demo),
        Path(snakemake.output.modules).parent,
    )
