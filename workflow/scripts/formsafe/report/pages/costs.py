"""What a study took, by stage, from the figures that each stage leaves behind."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from formsafe.core.files import read_json
from formsafe.report.tables.base import Cell, Table

# Stage by what its metrics file is called and lies in, in the order of the work.
STAGES = {
    "soft prompts (stage 1)": lambda path: "soft_prompts" in path.parts,
    "adapters (SFT, stage 2)": lambda path: path.parent.name == "adapter",
    "answers": lambda path: path.name == "answers.metrics.json",
    "judge": lambda path: path.name == "judge.metrics.json",
    "judge format audit": lambda path: "audit" in path.parts,
    "text scores": lambda path: path.name == "text.metrics.json",
    "other": lambda path: True,
}
Record = dict[str, Any]


def stage_of(path: str | Path) -> str:
    """The stage that a metrics file belongs to."""
    return next(name for name, belongs in STAGES.items() if belongs(Path(path)))


def read_metrics(paths: Iterable[str]) -> list[tuple[str, Record]]:
    """Stage and record of every metrics file."""
    return [(stage_of(path), read_json(path)) for path in paths]


def cost_table(metrics: Sequence[tuple[str, Record]]) -> Table:
    """Jobs, hours, tokens and memory by stage."""
    by_stage = {name: [record for stage, record in metrics if stage == name] for name in STAGES}
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
