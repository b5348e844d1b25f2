"""Who generated the answers: what a server wrote is not compared unnoticed with what this library wrote."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from formsafe.core.files import read_json
from formsafe.core.layout import run_of, stage_of
from formsafe.core.records import Finding, Run

QUESTION = "Were all answers generated in the same way?"
IN_PROCESS = "by this workflow itself"


def answered(metrics: Sequence[str]) -> Iterator[Finding]:
    """One finding where a server answered for any run, none where this library answered for all.

    Args:
        metrics: metrics of all stages; those of the answers name the server's command, model and versions.
    """
    ways: dict[str, set[Run]] = {}
    for path in (path for path in metrics if stage_of(path) == "answers"):
        found = read_json(path)
        way = IN_PROCESS
        if "server_command" in found:
            program, _, arguments = found["server_command"].partition(" ")
            versions = ", ".join(found.get("server_versions", []))
            # without the program's folder, which says something about this machine only
            way = f"by a server in the job ({Path(program).name} {arguments}; version {versions})"
        elif "server_model" in found:
            way = f"by a server ({found['server_model']})"
        ways.setdefault(way, set()).add(run_of(path))
    if ways.keys() <= {IN_PROCESS}:
        return
    told = "; ".join(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} {way}" for way, runs in sorted(ways.items()))
    alike = len(ways) == 1
    end = "." if alike else ". A difference between such runs may be one between the programs."
    said = (
        "All answers were generated in the same way" if alike else "The answers were not all generated in the same way"
    )
    status = "shown" if alike else "not shown"
    yield Finding(id="answered", section="safety", question=QUESTION, status=status, sentence=f"{said}: {told}{end}")
