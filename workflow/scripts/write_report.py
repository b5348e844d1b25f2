"""Write the report of the study: one page."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.report.pages.page import Description, write_page
    from formsafe.report.results import results_from

    params = snakemake.params
    write_page(
        results_from(snakemake.input, params),
        Description(params.title, params.study, params.licences, params.settings),
        snakemake.input.template[0],
        snakemake.output.report,
    )
