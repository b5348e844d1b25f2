"""Benchmarks of capability (the optional target `capability`)."""

from pydantic import Field, PositiveInt

from formsafe.config.settings.base import Seed, Settings


class CapabilitySettings(Settings):
    """What lm-eval measures."""

    tasks: list[str] = ["mmlu", "ifeval"]
    """Names of tasks or groups of lm-eval."""
    task_folder: str | None = None
    """Folder of further tasks, as YAML files."""
    few_shots: int | None = Field(default=None, ge=0)
    """Examples in the prompt; null: each task's own number."""
    limit: PositiveInt | None = None
    """Only so many examples per task; null: all."""
    batch_size: int = Field(default=8, gt=0)
    """Examples at once."""
    chat_template: bool = True
    """Ask through the model's chat template."""
    seed: Seed = 0
    """Seed of few-shot examples."""
