"""Methods and the grid of runs."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from formsafe.config.settings.base import Label, Seed, Settings


class OtherPrompt(Settings):
    """The soft prompt of another format: `{of: {format: json}}`."""

    of: dict[Literal["format"], str]
    """Its format, under the key `format`."""


class Constraint(Settings):
    """A loss that holds the first tokens of a response near the base model (Qi et al. 2025, section 4)."""

    weight: float = Field(gt=0)
    """Factor of KL(base model || model), in nats, at each of these tokens."""
    depth: int = Field(gt=0)
    """Number of tokens from the start of the response."""


class SafetyMix(Settings):
    """Safety examples among the training examples: the base model's own refusals (section `safety`)."""

    share: float = Field(gt=0, lt=1)
    """Share of safety examples among all training examples; they are added to the study's own."""
    rendered: bool = False
    """Write them in the run's format; false: as the base model wrote them."""


class Projection(Settings):
    """SafeLoRA (Hsu et al. 2024): project a trained adapter on the direction of the model's alignment."""

    base: str
    """Name in `models` of the weights before alignment."""
    aligned: str | None = None
    """Name in `models` of the aligned weights; null: the run's own model."""
    threshold: float = Field(default=0.35, ge=-1, le=1)
    """Layers are projected whose update has at most this cosine with its projection."""


class MethodSettings(Settings):
    """A method is data: what it trains with and what stays at inference. Controls and mitigations are methods, too."""

    label: Label
    """Name in figures and tables."""
    trained: bool = True
    """False for a model as it is."""
    soft_prompt: Literal["tuned", "random", "joint", "only"] | OtherPrompt | None = None
    """`tuned`: stage 2 sees the soft prompt of stage 1 (ProMoT); `random`: vectors of random direction, as long as the
    tuned ones; `{of: {format: json}}`: the tuned one of another format; `joint`: trained together with the adapter;
    `only`: stage 1 alone, kept at inference, without adapter (its runs have no learning rate); null: none (SFT)."""
    soft_prompt_at_inference: bool = False
    """Keep the soft prompt when answering (a control; ProMoT removes it)."""
    adapter_of: str | None = None
    """Reuse the adapters of this method instead of training."""
    projection: Projection | None = None
    """Project the adapters of `adapter_of` before use (SafeLoRA)."""
    safety: SafetyMix | None = None
    """Mix safety examples into the training data."""
    constraint: Constraint | None = None
    """Hold the first tokens of the response near the base model."""
    same_steps: bool = False
    """With fewer examples than the study's own (`examples` of the grid): as many optimiser steps as with all; false: as
    many epochs."""
    system_prompt_training: str | None = None
    """System prompt in training."""
    system_prompt_test: str | None = None
    """System prompt when answering."""

    @property
    def keeps_soft_prompt(self) -> bool:
        """Whether answers are given with a soft prompt."""
        return self.soft_prompt_at_inference or self.soft_prompt == "only"

    @property
    def trains_adapter(self) -> bool:
        """Whether adapters are trained for it: neither borrowed nor projected nor left out."""
        return self.trained and self.adapter_of is None and self.soft_prompt != "only"


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
