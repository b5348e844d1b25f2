"""Write the pieces of the report: the verdict, the study's page, a sample of answers."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.analysis.roster import names_from
    from formsafe.config.settings.analysis import AnalysisSettings
    from formsafe.report.pages.study import describe_study

    inputs, params = snakemake.input, snakemake.params
    describe_study(
        {
            name: inputs[name]
            for name in ("summary", "comparisons", "curves", "audit", "paper", "corpus", "certificate")
        },
        inputs.get("metrics", []),
        inputs.get("answers", []),
        inputs.get("scores", []),
        {name: snakemake.output[name] for name in ("verdict", "study", "answers")},
        title=params.title,
        study=params.study,
        names=names_from(params.models, params.methods, params.runs, params.missing),
        confidence=AnalysisSettings(**params.analysis).confidence,
        licences=params.licences,
        settings=params.settings,
    )
