"""What a study took, by stage, from the figures that each stage leaves behind."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from formsafe.core.files import read_json
from formsafe.core.layout import stage_of
from formsafe.report.tables.base import Cell, Table

# Label of each stage of `core.layout.stage_of`, in the order of the work.
STAGES = {
    "soft_prompt": "soft prompts (stage 1)",
    "adapter": "adapters (SFT, stage 2)",
    "answers": "answers",
    "judge": "judge",
    "audit": "judge format audit",
    "text": "text scores",
}
Record = dict[str, Any]


def read_metrics(paths: Iterable[str]) -> list[tuple[str, Record]]:
    """Stage and record of every metrics file."""
    return [(STAGES[stage_of(path)], read_json(path)) for path in paths]


def cost_table(metrics: Sequence[tuple[str, Record]]) -> Table:
    """Jobs, hours, tokens and memory by stage."""
    by_stage = {name: [record for stage, record in metrics if stage == name] for name in STAGES.values()}
    rows = [_row(stage, records) for stage, records in by_stage.items() if records]
    caption = (
        "Cost by stage: hours of jobs, of them on GPUs, tokens trained on or generated, highest memory of a job (GiB). "
        "Of a job that was stopped and went on, memory is that since it last started."
    )
    header = ["Stage", "jobs", "hours", "GPU hours", "tokens", "memory", "GPU memory", "devices"]
    return Table("cost", "Cost", caption, header, [*rows, _row("all", [record for _, record in metrics])])


def _row(stage: str, records: Sequence[Record]) -> list[Cell]:
    devices = [str(record.get("device", "unknown")) for record in records]
    hours = [(record.get("seconds") or 0.0) / 3600 for record in records]
    on_gpus = sum(hour for hour, device in zip(hours, devices, strict=True) if not device.startswith("cpu"))
    tokens = sum(map(_tokens, records))
    return [
        *(stage, len(records), float(sum(hours)), float(on_gpus), tokens),
        *(_highest(records, "peak_memory_bytes"), _highest(records, "peak_gpu_memory_bytes")),
        ", ".join(sorted(set(devices))),
    ]


def _tokens(record: Record) -> int:
    """Tokens trained on (all epochs) or generated."""
    if "training_seconds" in record:
        return round((record.get("tokens_per_second") or 0) * record["training_seconds"])
    return int(record.get("tokens") or 0)


def _highest(records: Sequence[Record], key: str) -> str | None:
    highest = max((record.get(key) or 0 for record in records), default=0)
    return f"{highest / 2**30:.1f}" if highest else None


def versions_table(metrics: Sequence[tuple[str, Record]]) -> Table:
    """Software that the stages ran with, each version with the number of its jobs."""
    counts: Counter[tuple[str, str]] = Counter()
    for _, record in metrics:
        counts.update((record.get("versions") or {}).items())
        counts["git commit of the workflow", record.get("git_commit") or "unknown"] += 1
    rows: list[list[Cell]] = [[name, version, count] for (name, version), count in sorted(counts.items())]
    return Table("versions", "Versions", "Software of the jobs.", ["Package", "version", "jobs"], rows)
