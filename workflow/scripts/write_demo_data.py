"""Write the toy how-tos and the four toy harmful sets, in the columns of the public data sets."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from pathlib import Path

    from formsafe.config.settings.demo import DemoSettings
    from formsafe.demo.upstream import write_demo_data

    write_demo_data(DemoSettings(**snakemake.params.demo), Path(snakemake.output[0]).parent)
