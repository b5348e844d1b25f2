"""What all sections of the configuration have in common."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from formsafe.core.texts import is_one_line

Auto = Literal["auto"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy takes


def _is_name(text: str) -> str:
    # Names are parts of paths: a slash, a leading dot or a hyphen would name another folder or be taken for an option.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(f"{text!r} is no name: letters, digits, `.`, `_` and `-`, a letter or digit first")
    return text


Name = Annotated[str, AfterValidator(_is_name)]
"""A name that is part of paths."""


def _is_label(text: str) -> str:
    if not is_one_line(text := text.strip()):
        raise ValueError("must be one line without control characters")
    return text


Label = Annotated[str, AfterValidator(_is_label)]
"""A text that figures, tables and pages show."""


LocalPath = Annotated[str, AfterValidator(os.path.expanduser)]
"""A path on this machine; `~` is the home directory."""


class Settings(BaseModel):
    """A section: unknown keys, numbers written as strings and numbers that are not finite are errors.

    A field that determines no result (a label, an address, how a job fits into memory) has `Field(exclude=True)`:
    `model_dump()`, which rules take as parameters, leaves it out, so that an edit makes nothing stale. `restored`
    brings it back inside a job.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    model_config |= ConfigDict(use_attribute_docstrings=True)


class Located(Settings):
    """Something that exactly one of the keys `hub`, `url` and `path`, as far as the section has them, locates."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        keys = [key for key in ("hub", "url", "path") if key in type(self).model_fields]
        if sum(getattr(self, key) is not None for key in keys) != 1:
            others = "the other" if len(keys) == 2 else "the others"
            raise ValueError(f"give exactly one of {', '.join(keys[:-1])} and {keys[-1]} (set {others} to null)")
        return self


Section = TypeVar("Section", bound=Settings)


def restored(kind: type[Section], tracked: Mapping[str, Any], configured: Mapping[str, Any]) -> Section:
    """Settings from `model_dump()` and the configuration, which has what `model_dump()` leaves out.

    Args:
        kind: the settings' class.
        tracked: what `model_dump()` gave.
        configured: the section of the configuration that it came from.
    """
    return kind.model_validate(_merged(tracked, configured))


def _merged(tracked: Mapping[str, Any], configured: Mapping[str, Any]) -> dict[str, Any]:
    """`tracked` on top of `configured`, section by section."""
    merged = {**configured, **tracked}
    for name, value in tracked.items():
        if isinstance(value, Mapping) and isinstance(configured.get(name), Mapping):
            merged[name] = _merged(value, configured[name])
    return merged
