"""Methods and the grid of runs."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from formsafe.config.settings.base import Seed, Settings


class Constraint(Settings):
    """A loss that holds the first tokens of a response near the base model (Qi et al. 2025, section 4)."""

    weight: float = Field(gt=0)
    """Factor of KL(base model || model), in nats, at each of these tokens."""
    depth: int = Field(gt=0)
    """Number of tokens from the start of the response."""


class MethodSettings(Settings):
    """A method is data: what it trains with and what stays at inference."""

    label: str
    """Name in figures and tables."""
    trained: bool = True
    """False for a model as it is."""
    soft_prompt: str | None = None
    """`tuned`: stage 2 sees the soft prompt of stage 1 (ProMoT); null: none (SFT)."""
    soft_prompt_at_inference: bool = False
    """Keep the soft prompt when answering (a control; ProMoT removes it)."""
    adapter_of: str | None = None
    """Reuse the adapters of this method instead of training."""
    system_prompt_training: str | None = None
    """System prompt in training."""
    system_prompt_test: str | None = None
    """System prompt when answering."""


class Exclusion(Settings):
    """Which runs are left out: those that have everything it names."""

    model: str | None = None
    """Name of the model."""
    method: str | None = None
    """Name of the method."""
    format: str | None = None
    """Name of the format."""
    learning_rate: float | None = None
    """Learning rate of the adapter."""
    seed: int | None = None
    """Seed."""

    @model_validator(mode="after")
    def _some_key(self) -> "Exclusion":
        if not self.model_dump(exclude_none=True):
            raise ValueError(f"name at least one of {', '.join(type(self).model_fields)}")
        return self


class GridBlock(Settings):
    """A cross product of runs; methods that are not trained take neither format, rate nor seed."""

    models: list[str] = Field(min_length=1)
    """Names from `models`."""
    methods: list[str] = Field(min_length=1)
    """Names from `methods`."""
    formats: list[str] = []
    """Names of formats, which are the modules in `workflow/scripts/formsafe/formats/`."""
    learning_rates: list[Annotated[float, Field(gt=0, lt=1)]] = []
    """Learning rates of the adapter."""
    seeds: list[Seed] = [0]
    """Seeds of data order, initialisation and dropout."""
    data_seeds: list[Seed] | Literal["seed"] = []
    """Seeds of the draw of training rows; `seed`: each training draws by its own seed; `[]`: `corpus.seed` for all."""
    examples: list[PositiveInt] = []
    """Numbers of training examples, smaller ones within larger ones; `[]`: `corpus.splits.train`."""
    exclude: list[Exclusion] = []
    """Combinations left out: `{format: json, learning_rate: 1.0e-4}` drops every run that matches all its keys."""
