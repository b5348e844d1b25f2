"""Print one page: is everything there, and what will the study cost? Ends with 1 where something is wrong."""

import sys
from pathlib import Path

from formsafe.config.loading import load_study
from formsafe.preflight.page import preflight

go, page = preflight(
    load_study(snakemake.config),
    snakemake.params.jobs,
    snakemake.params.results,
    snakemake.params.lock,
    made=snakemake.params.made,
    systems=snakemake.params.systems,
)
print(page, flush=True)
Path(snakemake.log[0]).write_text(page, encoding="utf-8")
sys.exit(0 if go else 1)
