"""Write the tables of the study."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.analysis.roster import names_from
    from formsafe.report.tables.write import write_tables

    params = snakemake.params
    write_tables(
        {name: snakemake.input[name] for name in ("summary", "comparisons", "curves", "audit", "paper")},
        snakemake.input.get("token_counts", []),
        list(snakemake.output),
        names=names_from(params.models, params.methods, params.runs, params.missing),
        threshold=params.threshold,
    )
