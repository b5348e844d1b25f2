"""Print the jobs of a study, as Snakemake's own data structures hold them, as one JSON document.

It runs in a process of its own (see `plan`), since Snakemake keeps global state: `plan_child.py OUTPUT ARGUMENTS...`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakemake import api, cli

# Started as a file, Python looks for modules in this folder, where `formsafe` is not.
sys.path.insert(0, str(Path(__file__).parents[2]))

from formsafe.cluster.reasons import explain

_workflows: list[Any] = []
_make_dag = api.WorkflowApi.dag


def _remember(workflow_api: Any, *arguments: Any, **keywords: Any) -> Any:
    _workflows.append(workflow_api)
    return _make_dag(workflow_api, *arguments, **keywords)


def describe(dag: Any, job: Any, makers: Mapping[str, str]) -> dict[str, Any]:
    """What `plan.PlannedJob` takes, of one job."""
    planned = bool(dag.needrun(job))
    return {
        "rule": job.rule.name,
        "outputs": [str(path) for path in job.output],
        "benchmark": str(job.benchmark) if job.benchmark else None,
        "gpus": int(job.resources.get("gpu", 0)),
        "planned": planned,
        "gone": [str(path) for path in job.output if not Path(path).exists()],
        "unrecorded": bool(job.output) and not dag.workflow.persistence.has_metadata(job),
        "why": list(explain(dag.reason(job), makers)) if planned else [],
    }


def main(output: str, arguments: list[str]) -> None:
    """Plan as Snakemake's command line does and write the jobs to `output`."""
    # The command line keeps the graph of jobs to itself; the call that builds it is the one place to reach it.
    api.WorkflowApi.dag = _remember
    try:
        cli.main(["--dry-run", "--quiet", "all", *arguments])
    except SystemExit as ended:
        if ended.code:
            raise
    dag = _workflows[0]._workflow.dag
    makers = {str(path): job.rule.name for job in dag.jobs for path in job.output}
    Path(output).write_text(json.dumps([describe(dag, job, makers) for job in dag.jobs]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
