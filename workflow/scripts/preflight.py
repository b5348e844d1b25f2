"""Print one page: is everything there, and what will the study cost? Ends with 1 where something is wrong."""

import sys
from pathlib import Path

from formsafe.config.loading import load_study
from formsafe.preflight.page import Planned, preflight
from formsafe.preflight.slurm_checks import slurm_request

params = snakemake.params
planned = Planned(
    jobs=params.jobs,
    lock=params.lock,
    made=params.made,
    slurm=slurm_request(params.profile, params.minutes),
)
go, page = preflight(load_study(snakemake.config), planned)
print(page, flush=True)
Path(snakemake.log[0]).write_text(page, encoding="utf-8")
sys.exit(0 if go else 1)
