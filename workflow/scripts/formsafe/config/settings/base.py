"""What all sections of the configuration have in common."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy takes


def _is_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(f"{text!r} is no name: letters, digits, `.`, `_` and `-`, a letter or digit first")
    return text


Name = Annotated[str, AfterValidator(_is_name)]
"""A name that stands in paths."""


class Settings(BaseModel):
    """A section: unknown keys, numbers written as strings and numbers that are not finite are errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
