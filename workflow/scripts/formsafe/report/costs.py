"""What a study took, by stage, from the figures that each stage leaves behind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from formsafe.files import read_json
from formsafe.tables.base import Cell, Table

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


@dataclass
class Cost:
    """Sums over the jobs of a stage."""

    jobs: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    tokens: int = 0
    memory: int = 0
    gpu_memory: int = 0
    devices: set[str] = field(default_factory=set)

    def add(self, record: dict[str, Any]) -> None:
        """Add one job's record."""
        device = str(record.get("device", "unknown"))
        seconds = float(record.get("seconds") or 0.0)
        self.jobs += 1
        self.seconds += seconds
        self.gpu_seconds += 0.0 if device.startswith("cpu") else seconds
        self.tokens += tokens_of(record)
        self.memory = max(self.memory, record.get("peak_memory_bytes") or 0)
        self.gpu_memory = max(self.gpu_memory, record.get("peak_gpu_memory_bytes") or 0)
        self.devices.add(device)


def tokens_of(record: dict[str, Any]) -> int:
    """Tokens trained on (all epochs) or generated."""
    if "training_seconds" in record:
        return round((record.get("tokens_per_second") or 0) * record["training_seconds"])
    return int(record.get("tokens") or 0)


def stage_of(path: str | Path) -> str:
    """The stage that a metrics file belongs to."""
    return next(name for name, belongs in STAGES.items() if belongs(Path(path)))


def read_metrics(paths: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """Stage and record of every metrics file."""
    return [(stage_of(path), read_json(path)) for path in paths]


def cost_table(metrics: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """Jobs, hours, tokens and memory by stage."""
    costs: dict[str, Cost] = {}
    for stage, record in metrics:
        costs.setdefault(stage, Cost()).add(record)
    rows = [_row(stage, costs[stage]) for stage in STAGES if stage in costs]
    total = Cost()
    for _, record in metrics:
        total.add(record)
    caption = (
        "Cost by stage: hours of jobs, of them on GPUs, tokens trained on or generated, highest memory of a job (GiB). "
        "A job that was stopped and went on counts its last stretch."
    )
    header = ["Stage", "jobs", "hours", "GPU hours", "tokens", "memory", "GPU memory", "devices"]
    return Table("cost", "Cost", caption, header, [*rows, _row("all", total)])


def _row(stage: str, cost: Cost) -> list[Cell]:
    gigabytes = [f"{size / 2**30:.1f}" if size else None for size in (cost.memory, cost.gpu_memory)]
    hours = [cost.seconds / 3600, cost.gpu_seconds / 3600]
    return [stage, cost.jobs, *hours, cost.tokens, *gigabytes, ", ".join(sorted(cost.devices))]


def versions_table(metrics: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """Software that the stages ran with, each version with the number of its jobs."""
    counts: dict[tuple[str, str], int] = {}
    for _, record in metrics:
        versions = dict(record.get("versions") or {})
        versions["git commit of the workflow"] = record.get("git_commit") or "unknown"
        for name, version in versions.items():
            counts[name, version] = counts.get((name, version), 0) + 1
    rows: list[list[Cell]] = [[name, version, count] for (name, version), count in sorted(counts.items())]
    return Table("versions", "Versions", "Software of the jobs.", ["Package", "version", "jobs"], rows)
