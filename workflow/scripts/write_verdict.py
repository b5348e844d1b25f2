"""Word the verdict from the study's tables."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.analysis.answered import answered
    from formsafe.analysis.evidence import Evidence
    from formsafe.analysis.roster import names_from
    from formsafe.analysis.verdict import write_verdict
    from formsafe.config.settings.analysis import AnalysisSettings

    files, params = snakemake.input, snakemake.params
    names = names_from(params.models, params.methods, params.runs, params.missing)
    evidence = Evidence(dict(files.items()), names, AnalysisSettings(**params.analysis), params.warmup)
    write_verdict(evidence, snakemake.output.verdict, answered(files.get("metrics", [])))
