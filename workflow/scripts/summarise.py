"""Put the scores of all runs into one table and compute the study's statistics."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.analysis.audit import write_audit
    from formsafe.analysis.comparisons import Thresholds
    from formsafe.analysis.curves import write_curves
    from formsafe.analysis.roster import names_from
    from formsafe.analysis.summary import summarise
    from formsafe.config.settings.analysis import AnalysisSettings

    settings = AnalysisSettings(**snakemake.params.analysis)
    files, outputs, params = snakemake.input, snakemake.output, snakemake.params
    summarise(
        {
            name: files.get(name, [])
            for name in ("scores", "task", "harmful", "prompts", "benign", "benign_judged", "capability")
        },
        {name: outputs[name] for name in ("scores", "summary", "comparisons", "contrasts")},
        names_from({}, params.methods, params.runs, params.missing),
        Thresholds(params.threshold, tuple(params.levels)),
        settings,
    )
    write_curves(files.get("losses", []), outputs.curves)
    write_audit(files.get("audit", []), outputs.audit, params.threshold, settings)
