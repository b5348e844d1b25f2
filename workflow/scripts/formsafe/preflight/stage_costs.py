"""What is left of a study and what it will cost: by finished jobs of the same stage and model, else by measurements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from formsafe.core.durations import in_words
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json
from formsafe.core.layout import partitions, stage_of

Stage = Literal["soft prompts", "adapters", "answers", "judge"]
STAGES: tuple[Stage, ...] = get_args(Stage)
# Seconds inside the stage's loop, and the units it counts, in each stage's metrics.
_LOOP = {True: ("training_seconds", "validation_seconds"), False: ("generation_seconds",)}
_UNITS = {True: "steps", False: "replies"}
# Committed results of `benchmarks/paper_scale.py`: where each stage's rate is in them, and whether per judgement.
MEASUREMENTS = Path("benchmarks/results")
_RATES = {
    "soft prompts": ("training", "soft_prompt", "tokens_per_second"),
    "adapters": ("training", "sft", "tokens_per_second"),
    "answers": ("answers", "formsafe", "tokens_per_second"),
    "judge": ("judge", "formsafe", "judgements_per_second"),
}
# The stages whose paths tell the model at work, as `stage_of` names them: a judge's path has the model that it judges.
_OF_THE_MODEL = {"soft prompts": "soft_prompt", "adapters": "adapter", "answers": "answers"}
# Before its loop a job starts Python, imports and wakes the device (seconds), and reads weights of 16 bits at the rate
# of a shared file system. The job's own metrics do not count the first.
START_SECONDS, BYTES_PER_SECOND = 15.0, 1e9
# Mean tokens, assumed until a tokenizer has counted: 95 words of response and 6 of title as in WikiSum, a quarter more
# tokens than words, some 40 tokens of chat template; answers are a mixture of refusals and texts as trained on.
EXAMPLE_TOKENS, ANSWER_TOKENS = 165, 125


@dataclass(frozen=True)
class Work:
    """The jobs of one stage with one model: their metrics files, and steps or prompts of each.

    `batch` is the examples of an optimiser step, `new_tokens` the most tokens of an answer, `prompts` the set where it
    is not the study's harmful one: `benign` or `safety`.
    """

    stage: Stage
    model: str
    jobs: Sequence[str]
    units: int
    batch: int = 0
    new_tokens: int = 0
    prompts: str = ""

    @property
    def trains(self) -> bool:
        """Whether it is a stage of training."""
        return self.stage in ("soft prompts", "adapters")

    @property
    def left(self) -> int:
        """Jobs without results."""
        return sum(not Path(job).exists() for job in self.jobs)


@dataclass(frozen=True)
class Cost:
    """Cost of one job (None: not known), where it comes from, and GPU memory as planned (None: no GPU)."""

    work: Work
    seconds: float | None
    basis: str
    memory_bytes: float | None = None


def estimate(work: Work, parameters: float, results: Path, device: str | None) -> tuple[float | None, str]:
    """Seconds of a job of `work`, its start included, and what they are taken from.

    Args:
        work: the jobs.
        parameters: of the model.
        results: the study's results, beside those of other studies.
        device: the device as metrics name it; None: any GPU.
    """
    if took := from_finished(work, finished_jobs(work, results), device):
        seconds, count, where = took
        return START_SECONDS + seconds, f"{count} finished" + (f" on {where}" if device is None else "")
    if device is None or not device.startswith("cpu"):
        for measured in map(_read, sorted(MEASUREMENTS.glob("paper_scale*.json"))):
            if found := _from_measurement(work, parameters, measured):
                return found
    return None, "not measured"


def _from_measurement(work: Work, parameters: float, measured: Mapping[str, Any]) -> tuple[float, str] | None:
    """Seconds by the measured rate of a model of another size: work grows with the number of parameters."""
    device = str(measured.get("measured", {}).get("device", "cpu"))
    section, way, key = _RATES[work.stage]
    for name, model in measured.get("models", {}).items():
        rate = model.get(section, {}).get(way, {}).get(key)
        size = _billions(name)
        if rate and size and not device.startswith("cpu"):
            amount = work.units * (work.batch * EXAMPLE_TOKENS if work.trains else 1)
            if work.stage == "answers":
                amount *= min(ANSWER_TOKENS, work.new_tokens)
            start = START_SECONDS + 2 * parameters / BYTES_PER_SECOND
            return start + amount / rate * parameters / (1e9 * size), f"measured on {device} with {size:g}B"
    return None


def _billions(name: str) -> float | None:
    """Parameters in a name like llama-3.1-8b, in 1e9."""
    last = name.rsplit("-", 1)[-1]
    return float(last[:-1]) if last.endswith("b") and last[:-1].replace(".", "").isdigit() else None


def from_finished(work: Work, finished: Iterable[str | Path], device: str | None) -> tuple[float, int, str] | None:
    """Seconds of a job as finished jobs on one device took, scaled to `work.units`; how many there were, and where.

    Args:
        work: the jobs asked about.
        finished: metrics files.
        device: the device as the metrics name it; None: the GPU on which most of them ran.
    """
    seconds: dict[str, list[float]] = {}
    for record in map(_read, finished):
        name, value = str(record.get("device", "cpu")), _scaled(record, work.units, work.trains)
        if value is not None and (not name.startswith("cpu") if device is None else name == device):
            seconds.setdefault(name, []).append(value)
    if not seconds:
        return None
    name, values = max(seconds.items(), key=lambda found: (len(found[1]), found[0]))
    return sum(values) / len(values), len(values), name


def finished_jobs(work: Work, results: Path) -> list[Path]:
    """Metrics of the same stage and model: of this study, and where the path tells the model, of its neighbours."""
    found = {Path(job) for job in work.jobs if Path(job).exists()}
    for path in results.parent.rglob("*metrics.json"):
        if stage_of(path) == _OF_THE_MODEL.get(work.stage) and partitions(path).get("model") == work.model:
            found.add(path)
    return sorted(found)


def _read(path: str | Path) -> Mapping[str, Any]:
    try:
        record = read_json(path)
    except (OSError, FormsafeError):  # a torn file says nothing about costs
        return {}
    return record if isinstance(record, dict) else {}


def _scaled(record: Mapping[str, Any], units: int, trains: bool) -> float | None:
    loop, done = sum(record.get(key) or 0 for key in _LOOP[trains]), record.get(_UNITS[trains])
    if not loop or not done:
        return None
    # Rounded seconds, and those of a job that continued, can have a loop longer than the job.
    return max(0.0, record["seconds"] - loop) + loop * units / done


def table(costs: Sequence[Cost], title: str) -> str:
    """The costs by stage and model, for the page."""
    head = f"  {'stage':<16}{'model':<24}{'jobs':>5}{'left':>6}{'per job':>10}{'all left':>10}{'memory':>9}  taken from"
    lines = [title, head]
    for cost in costs:
        work, seconds = cost.work, cost.seconds
        size = "-" if cost.memory_bytes is None else f"{cost.memory_bytes / 1e9:.0f} GB"
        times = f"{in_words(seconds):>10}{in_words(None if seconds is None else seconds * work.left):>10}"
        jobs = f"{len(work.jobs):>5}{work.left:>6}"
        stage = f"{work.stage}, {work.prompts}".removesuffix(", ")
        lines.append(f"  {stage:<16}{work.model:<24}{jobs}{times}{size:>9}  {cost.basis}")
    known = [cost.seconds * cost.work.left for cost in costs if cost.seconds is not None]
    total = ("" if len(known) == len(costs) else "> ") + in_words(sum(known)) if known or not costs else "?"
    lines.append(f"  {'together, one job after the other':<61}{total:>10}")
    lines.append("  Each job with its start and the reading of its weights. Finished jobs replace other measurements.")
    return "\n".join(lines)
