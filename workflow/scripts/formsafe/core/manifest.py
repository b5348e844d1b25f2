"""A run's manifest: everything that made its results, in one small file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from formsafe.core.files import read_json, write_json
from formsafe.core.layout import partitions
from formsafe.core.redaction import redacted

# What `provenance.stage_record` writes; the stages' own figures stay in their metrics.json.
RECORDED = (
    *("code", "seed", "started", "seconds", "device", "peak_memory_bytes", "peak_gpu_memory_bytes"),
    *("versions", "git_commit", "slurm_job_id"),
)


def describe_run(
    run: Mapping[str, str],
    settings: Mapping[str, Any],
    stages: Mapping[str, str | Path | Sequence[str]],
    sources: Mapping[str, str | Path | Sequence[str]],
    output: str | Path,
) -> None:
    """Write the manifest of one run.

    Args:
        run: its columns: model, method, format, lr, seed.
        settings: the slice of the configuration that it depends on.
        stages: the metrics.json of each stage by name; an empty list where the run has no such stage; of several judges
            each is described by its own name (`judge policy`).
        sources: what fetching and rendering wrote of models and data (commits, digests), by name: a file, or several.
        output: where to write; holds `run`, `settings`, `sources`, `stages` (code digest, seed, start, seconds,
            device, peak memory in bytes, versions, git commit, Slurm job of each) and `seconds`, the stages' sum.
    """
    described = {}
    for name, place in stages.items():
        paths = [place] if isinstance(place, str | Path) else list(place)
        for path in paths:
            metrics = read_json(path)
            key = name if len(paths) == 1 else f"{name} {partitions(path)['judge']}"
            described[key] = {"metrics": str(path)} | {key: metrics.get(key) for key in RECORDED}
    read = {
        name: read_json(place) if isinstance(place, str | Path) else list(map(read_json, place))
        for name, place in sources.items()
    }
    seconds = round(sum(stage["seconds"] or 0.0 for stage in described.values()), 3)
    made = {"run": dict(run), "settings": redacted(dict(settings)), "sources": read}
    write_json(output, made | {"stages": described, "seconds": seconds})
