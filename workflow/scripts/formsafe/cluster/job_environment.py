"""What all jobs inherit from the workflow: which library they import, and who may read what they write."""

import os
from pathlib import Path
from typing import Literal


def prepare_job_environment(scripts: Path, results_mode: Literal["private", "group"]) -> None:
    """Set the environment and the umask that the jobs of this process inherit.

    Args:
        scripts: The folder that holds the library. It goes first on `PYTHONPATH`: Snakemake puts a script's own folder
            last, and another copy of the library would run under the digest of this one's code.
        results_mode: `group` lets the user's group read all results, answers too (see `core.files.private_mode`).
    """
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(scripts), os.environ.get("PYTHONPATH")]))
    os.environ["FORMSAFE_RESULTS_MODE"] = results_mode
    if results_mode == "group":
        os.umask(os.umask(0o077) & ~0o050)
