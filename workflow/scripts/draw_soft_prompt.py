"""Draw a soft prompt of random directions, as long as the tuned one."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from pathlib import Path

    from formsafe.core.startup import UNUSED, lean_imports

    with lean_imports(*UNUSED, "bitsandbytes"):
        from formsafe.training.arm import draw_soft_prompt

    folder = Path(snakemake.output.metrics).parent
    draw_soft_prompt(Path(snakemake.input.tuned[0]).parent, folder, snakemake.params.seed, snakemake.params.code)
