"""What a study took, by stage, from the figures that each stage leaves behind."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from formsafe.core.files import read_json
from formsafe.core.layout import stage_of

# Label of each stage of `core.layout.stage_of`, in the order of the work.
STAGES = {
    "soft_prompt": "soft prompts (stage 1)",
    "adapter": "adapters (SFT, stage 2)",
    "answers": "answers",
    "judge": "judge",
    "audit": "judge format audit",
    "text": "text scores",
    "first_tokens": "first tokens of refusals",
}
COST_CAPTION = (
    "Hours of jobs, of them on GPUs, tokens trained on or generated, highest memory of a job (GiB). Of a job that was "
    "stopped and went on, memory is that since it last started."
)
VERSIONS_CAPTION = "Software of the jobs, each version with the number of its jobs."
Record = dict[str, Any]


def read_metrics(paths: Iterable[str]) -> list[tuple[str, Record]]:
    """Stage and record of every metrics file."""
    return [(STAGES[stage_of(path)], read_json(path)) for path in paths]


def cost_table(metrics: Sequence[tuple[str, Record]]) -> pd.DataFrame:
    """Jobs, hours, tokens and memory by stage."""
    rows = []
    for name in [*STAGES.values(), "all"]:
        records = [record for stage, record in metrics if name in (stage, "all")]
        if records or name == "all":
            rows.append(_row(name, records))
    return pd.DataFrame(rows, dtype=object)


def _row(stage: str, records: Sequence[Record]) -> Record:
    devices = [str(record.get("device", "unknown")) for record in records]
    hours = [(record.get("seconds") or 0.0) / 3600 for record in records]
    on_gpus = sum(hour for hour, device in zip(hours, devices, strict=True) if not device.startswith("cpu"))
    return {
        "Stage": stage,
        "jobs": len(records),
        "hours": float(sum(hours)),
        "GPU hours": float(on_gpus),
        "tokens": sum(map(_tokens, records)),
        "memory": _highest(records, "peak_memory_bytes"),
        "GPU memory": _highest(records, "peak_gpu_memory_bytes"),
        "devices": ", ".join(sorted(set(devices))),
    }


def _tokens(record: Record) -> int:
    """Tokens trained on (all epochs) or generated."""
    if "training_seconds" in record:
        return round((record.get("tokens_per_second") or 0) * record["training_seconds"])
    return int(record.get("tokens") or 0)


def _highest(records: Sequence[Record], key: str) -> float | None:
    highest = max((record.get(key) or 0 for record in records), default=0)
    return highest / 2**30 if highest else None


def versions_table(metrics: Sequence[tuple[str, Record]]) -> pd.DataFrame:
    """Software that the stages ran with."""
    found = []
    for _, record in metrics:
        found += list((record.get("versions") or {}).items())
        found.append(("git commit of the workflow", record.get("git_commit") or "unknown"))
    counts = pd.DataFrame(found, columns=["Package", "version"]).value_counts(sort=False).reset_index(name="jobs")
    return counts.sort_values(["Package", "version"], ignore_index=True).astype(object)
