"""Models: where they come from and how they are loaded."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from formsafe.config.settings.base import Auto, Label, LocalPath, Located, Settings


class ModelSource(Settings):
    """A model repository on the hub."""

    repo: str
    """Repository id, `owner/name`."""
    revision: str = "main"
    """Branch, tag or commit; the commit it resolves to is kept in config/sources.lock.yaml."""


# The date that Llama-3.1's own template writes.
TEMPLATE_DATE = "2024-07-26"


def _is_date(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date: write it as '{TEMPLATE_DATE}', in quotes") from None
    return text


class ModelPlace(Located):
    """Where a model is: exactly one of `hub` and `path`."""

    hub: ModelSource | None = None
    """A model of the hub."""
    path: LocalPath | None = None
    """A local model directory; `~` is the home directory."""


class ModelSettings(ModelPlace):
    """A chat model: exactly one of `hub` and `path`."""

    label: Label = Field(exclude=True)
    """Name in figures and tables."""
    parameters: float = Field(gt=0, exclude=True)
    """Number of parameters, for memory plans and job resources."""
    licence: Label | None = Field(default=None, exclude=True)
    """Licence of the weights, for those who publish what was trained on them."""
    quantisation: Literal["nf4", "none"] = "nf4"
    """Weights while training (paper: 4-bit)."""
    inference_quantisation: Literal["nf4", "none"] | Auto = "auto"
    """Weights while answering and judging; `auto` follows `gpu_memory_gb`."""
    dtype: Literal["float32", "bfloat16", "float16"] | Auto = "auto"
    """Compute type; `auto` is bfloat16 on GPU and float32 on CPU."""
    attention: Literal["eager", "sdpa", "flash_attention_2"] | Auto = "auto"
    """Attention implementation; `auto` is sdpa, with this workflow's own call of it where a model allows that."""
    device: Literal["cpu", "cuda"] | Auto = "auto"
    """Device; `cuda` makes a missing GPU an error, `auto` takes one where there is one."""

    template_date: Annotated[str, AfterValidator(_is_date)] = TEMPLATE_DATE
    """The date that the model's chat template takes for today, YYYY-MM-DD: prompts do not depend on the clock."""
    thinking: bool = False
    """Let a thinking model's chat template leave room for thoughts, in training and when answering."""
