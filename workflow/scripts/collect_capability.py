"""Put the capability of all runs into one table."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    import pandas as pd

    from formsafe.analysis.score_table import write_table
    from formsafe.core.files import read_json
    from formsafe.core.layout import run_of
    from formsafe.core.records import RUN_COLUMNS

    columns = ("task", "metric", "value", "stderr", "n")
    rows = []
    for path in snakemake.input:
        fields = run_of(path).fields.values()
        rows += [[*fields, *(found[name] for name in columns)] for found in read_json(path)["abilities"]]
    write_table(snakemake.output[0], pd.DataFrame(rows, columns=[*RUN_COLUMNS, *columns]))
