"""Write the report of the study: one page."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.report.pages.page import write_page
    from formsafe.report.results import results_from

    params = snakemake.params
    write_page(
        results_from(snakemake.input, params),
        {name: params[name] for name in ("title", "study", "licences", "settings")},
        snakemake.input.template[0],
        snakemake.output.report,
    )
