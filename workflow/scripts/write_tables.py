"""Write the tables of the study."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.report.results import results_from
    from formsafe.report.tables.write import write_tables

    write_tables(results_from(snakemake.input, snakemake.params), list(snakemake.output))
