"""What all sections of the configuration have in common."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Auto = Literal["auto"]


class Settings(BaseModel):
    """A section: unknown keys are errors, and a number written as a string stays an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
