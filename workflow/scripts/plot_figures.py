"""Draw the figures of one model."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.analysis.roster import names_from
    from formsafe.config.settings.analysis import AnalysisSettings
    from formsafe.report.figures.draw import plot_figures

    params = snakemake.params
    plot_figures(
        snakemake.input.summary,
        snakemake.input.get("losses", []),
        snakemake.input.paper,
        list(snakemake.output),
        model=params.model,
        names=names_from(params.models, params.methods, params.runs, params.missing),
        threshold=params.threshold,
        settings=AnalysisSettings(**params.analysis),
    )
