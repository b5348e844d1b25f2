"""Write the pieces of the report: the verdict, the study's page, a sample of answers."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.report.pages.study import Description, describe_study
    from formsafe.report.results import results_from

    params = snakemake.params
    describe_study(
        results_from(snakemake.input, params),
        Description(params.title, params.study, params.licences, params.settings),
        dict(snakemake.output.items()),
    )
