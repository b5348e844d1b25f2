"""The words of the toy grammar, from `workflow/data/demo_words.yaml`, which the rules name as an input.

Words and whole texts with `{task}`, `{thing}`, `{material}` and `{time}` to fill in.
"""

from pathlib import Path
from types import SimpleNamespace

import yaml

FILE = Path(__file__).resolve().parents[3] / "data/demo_words.yaml"
WORDS = SimpleNamespace(**yaml.safe_load(FILE.read_text(encoding="utf-8")))
