"""Draw the figures of one model."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.report.figures.draw import plot_figures
    from formsafe.report.results import results_from

    results = results_from(snakemake.input, snakemake.params)
    plot_figures(results, snakemake.params.model, list(snakemake.output))
