"""Print the jobs of a study, as Snakemake's own data structures hold them, as one JSON document.

It runs in a process of its own (see `plan`), since Snakemake keeps global state: `plan_child.py OUTPUT ARGUMENTS...`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from snakemake import api, cli

_workflows: list[Any] = []
_make_dag = api.WorkflowApi.dag


def _remember(workflow_api: Any, *arguments: Any, **keywords: Any) -> Any:
    _workflows.append(workflow_api)
    return _make_dag(workflow_api, *arguments, **keywords)


def describe(dag: Any, job: Any) -> dict[str, Any]:
    """What `plan.PlannedJob` takes, of one job."""
    reason = dag.reason(job)
    changed = reason.params_changed
    return {
        "rule": job.rule.name,
        "outputs": [str(path) for path in job.output],
        "benchmark": str(job.benchmark) if job.benchmark else None,
        "gpus": int(job.resources.get("gpu", 0)),
        "planned": bool(dag.needrun(job)),
        "gone": [str(path) for path in job.output if not Path(path).exists()],
        "unrecorded": bool(job.output) and not dag.workflow.persistence.has_metadata(job),
        "reason": {
            "forced": bool(reason.forced),
            "missing": sorted(map(str, reason.missing_output)),
            "incomplete": sorted(map(str, reason.incomplete_output)),
            "changed": sorted(map(str, reason.updated_input - reason.updated_input_run)),
            "remade": sorted(map(str, reason.updated_input_run)),
            "other_inputs": bool(reason.input_changed),
            "software": bool(reason.software_stack_changed),
            "before": sorted(map(str, changed.only_old)) if changed else [],
            "now": sorted(map(str, changed.only_new)) if changed else [],
        },
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
    Path(output).write_text(json.dumps([describe(dag, job) for job in dag.jobs]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
