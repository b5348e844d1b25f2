"""The words of the toy grammar, from `workflow/data/demo_words.yaml`, which the rules name as an input."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

FILE = Path(__file__).resolve().parents[3] / "data/demo_words.yaml"


class Words(BaseModel):
    """Words and whole texts with `{task}`, `{thing}`, `{material}` and `{time}` to fill in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    describers: tuple[str, ...]
    things: tuple[str, ...]
    materials: tuple[str, ...]
    times: tuple[str, ...]
    harmless: dict[str, tuple[str, ...]]
    mischief: dict[str, tuple[str, ...]]
    categories: dict[str, str]
    links: tuple[str, ...]
    tips: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]
    refusals: tuple[str, ...]
    requests: tuple[str, ...]
    harmful_requests: dict[str, str]


WORDS = Words.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))
