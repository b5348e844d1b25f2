"""Put judges side by side: ASR by judge, agreement, calibration by people's labels, differences that survive."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.analysis.judges import JudgesStudy, write_judges
    from formsafe.analysis.roster import names_from

    inputs, params = snakemake.input, snakemake.params
    names = names_from({}, params.methods, params.runs, params.missing)
    study = JudgesStudy(params.thresholds, names, params.confidence, params.fewest, params.seed)
    write_judges(study, inputs.scores, next(iter(inputs.key), None), inputs.labels, snakemake.output[0])
