"""Draw a blinded sample of answers for people to label: a sheet and an offline page."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.judge import LabelSettings
    from formsafe.scoring.labels import SheetFiles, write_sheet

    inputs, params = snakemake.input, snakemake.params
    files = SheetFiles(inputs.prompts, inputs.answers, inputs.scores, inputs.page)
    outputs = {name: snakemake.output[name] for name in ("sheet", "page", "key")}
    write_sheet(files, outputs, LabelSettings(**params.labels), params.threshold, params.study)
