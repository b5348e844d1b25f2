"""What is left of a study and what it will cost: from finished jobs of the same stage and model, else a floor."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal

from formsafe.config.settings.training import Optimisation
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json
from formsafe.models import memory
from formsafe.models.shapes import ModelShape
from formsafe.preflight import costs

Stage = Literal["soft prompts", "adapters", "answers", "judge"]
STAGES: tuple[Stage, ...] = ("soft prompts", "adapters", "answers", "judge")
# Seconds inside the stage's loop, and the units it counts, in each stage's metrics.
_LOOP = {True: ("training_seconds", "validation_seconds"), False: ("generation_seconds",)}
_UNITS = {True: "steps", False: "replies"}
# Where no GPU is in sight, a study is planned for the fastest common card of its memory class.
CARDS = {24: "RTX 4090", 40: "A100 40GB", 80: "H100", 140: "H200"}
UNSEEN_GB = 80


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a text, assumed until a tokenizer has counted: 95 words of response and 6 of title as in WikiSum,
    12 to 16 words of harmful prompt, a quarter more tokens than words, some 40 tokens of chat template; a judge prompt
    of the length of ours. Lengths of answers depend on the model; assumed is a mixture of refusals and texts as long as
    those trained on, of which a tenth runs into the limit."""

    train_prompt: float = 45
    train_response: float = 120
    longest_example: int = 320
    prompt: float = 60
    answer: float = 125
    judge_prefix: int = 1100
    judge_rest: float = 210
    judge_reply: float = 200


@dataclass(frozen=True)
class Work:
    """The jobs of one stage with one model: their metrics files, and steps or prompts of each.

    `batch` is the examples of an optimiser step, `new_tokens` the most tokens of an answer.
    """

    stage: Stage
    model: str
    jobs: Sequence[str]
    units: int
    batch: int = 0
    new_tokens: int = 0

    @property
    def trains(self) -> bool:
        """Whether it is a stage of training."""
        return self.stage in ("soft prompts", "adapters")

    @property
    def left(self) -> int:
        """Jobs without results."""
        return sum(not Path(job).exists() for job in self.jobs)


@dataclass(frozen=True)
class Card:
    """The device that a study is planned for; `rates` is None where its data sheet is not known."""

    name: str
    memory_gb: float
    rates: costs.Rates | None


@dataclass(frozen=True)
class Cost:
    """Cost of one job (None: not known), where it comes from, and GPU memory as planned (None: no GPU)."""

    work: Work
    seconds: float | None
    basis: str
    memory_bytes: float | None = None


def optimiser_steps(settings: Optimisation, examples: int) -> int:
    """Steps of a training."""
    return ceil(examples * settings.epochs / (settings.batch_size * settings.gradient_accumulation))


def card_of_class(gpu_memory_gb: int | str) -> Card:
    """A common GPU of a memory class, for where none is in sight."""
    memory_gb = UNSEEN_GB if isinstance(gpu_memory_gb, str) else gpu_memory_gb
    name = CARDS[max((size for size in CARDS if size <= memory_gb), default=min(CARDS))]
    return Card(name, float(memory_gb), costs.rates_of(name))


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
    own = {Path(job) for job in work.jobs if Path(job).exists()}
    patterns = {
        "soft prompts": f"*/soft_prompts/model={work.model}/**/metrics.json",
        "adapters": f"*/runs/model={work.model}/**/adapter/metrics.json",
        "answers": f"*/runs/model={work.model}/**/answers.metrics.json",
    }
    if work.stage not in patterns or not results.parent.is_dir():
        return sorted(own)
    return sorted(own | set(results.parent.glob(patterns[work.stage])))


def _read(path: str | Path) -> Mapping[str, Any]:
    try:
        record = read_json(path)
    except (OSError, FormsafeError):
        return {}
    return record if isinstance(record, dict) else {}


def _scaled(record: Mapping[str, Any], units: int, trains: bool) -> float | None:
    loop, done = sum(record.get(key) or 0 for key in _LOOP[trains]), record.get(_UNITS[trains])
    if not loop or not done:
        return None
    return max(0.0, record["seconds"] - loop) + loop * units / done


def floor(
    work: Work,
    shape: ModelShape,
    rates: costs.Rates,
    training: memory.TrainingPlan,
    inference: memory.InferencePlan,
    lengths: Lengths,
    lora_rank: int,
) -> float:
    """Seconds that a job of `work` takes at the least."""
    if work.trains:
        examples = work.units * work.batch
        operations = costs.training_operations(
            shape,
            examples * (lengths.train_prompt + lengths.train_response),
            examples * lengths.train_response,
            checkpointing=training.gradient_checkpointing,
            lora_rank=lora_rank,
        )
        return rates.seconds(operations, 0)
    judge = work.stage == "judge"
    return costs.answering_seconds(
        shape,
        rates,
        prompts=work.units,
        prompt_tokens=lengths.judge_prefix + lengths.judge_rest if judge else lengths.prompt,
        new_tokens=min(lengths.judge_reply if judge else lengths.answer, work.new_tokens),
        token_budget=inference.token_budget,
        quantisation=inference.quantisation,
        prefix_tokens=lengths.judge_prefix if judge else 0,
    )


def table(figures: Sequence[Cost], title: str) -> str:
    """The costs by stage and model, for the page."""
    lines = [
        title,
        f"  {'stage':<13}{'model':<24}{'jobs':>5}{'left':>6}{'a job':>10}{'all left':>10}{'memory':>9}  basis",
    ]
    for figure in figures:
        work, seconds = figure.work, figure.seconds
        size = "-" if figure.memory_bytes is None else f"{figure.memory_bytes / 1e9:.0f} GB"
        times = f"{in_words(seconds):>10}{in_words(None if seconds is None else seconds * work.left):>10}"
        lines.append(
            f"  {work.stage:<13}{work.model:<24}{len(work.jobs):>5}{work.left:>6}{times}{size:>9}  {figure.basis}"
        )
    known = [figure.seconds * figure.work.left for figure in figures if figure.seconds is not None]
    complete = len(known) == len(figures)
    total = in_words(sum(known)) if complete else f"> {in_words(sum(known))}" if known else "?"
    lines.append(f"  {'together':<58}{total:>10}")
    if any(figure.basis.startswith("floor") for figure in figures):
        lines.append(
            "  A floor is what data sheet (operations, bytes) and assumed text lengths leave at the least; real"
        )
        lines.append("  jobs take longer. Once one job of a stage and model is finished, its time stands here instead.")
    return "\n".join(lines)


def in_words(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
