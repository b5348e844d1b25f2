"""What the paper leaves open and what a study decides: the table of `workflow/data/assumptions.yaml`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from formsafe.core.errors import FormsafeError

ASSUMPTIONS = Path("workflow/data/assumptions.yaml")
PAGE = Path("docs/assumptions.md")
COLUMNS = ("Choice", "The paper", "Ours", "Where to change it", "In this study")
CODE = "in the code"


def read_assumptions(path: str | Path = ASSUMPTIONS) -> list[dict[str, Any]]:
    """Read the entries."""
    return list(yaml.safe_load(Path(path).read_text(encoding="utf-8")))


def setting(settings: Any, key: str) -> Any:
    """The value at a key with dots, `judges.policy.retries.1.temperature`; raises FormsafeError where there is none."""
    rest = key
    while rest:
        names = map(str, range(len(settings))) if isinstance(settings, list) else (settings or ())
        # A model's name may have dots itself: `models.llama-3.1-8b-instruct.dtype`.
        found = max((name for name in names if f"{rest}.".startswith(f"{name}.")), key=len, default=None)
        if found is None:
            raise FormsafeError(f"{ASSUMPTIONS}: the configuration has no {key!r} (at {rest!r}).")
        settings, rest = settings[int(found) if isinstance(settings, list) else found], rest[len(found) + 1 :]
    return settings


def assumption_rows(entries: Iterable[Mapping[str, Any]], settings: Any = None) -> list[dict[str, str]]:
    """The table's rows; with the `settings` of a study the last column marks what it changes.

    A study may have other models or methods than the paper's: what it does not have is not used there.
    """
    rows = []
    for entry in entries:
        ours = entry["ours"] + (f" SHA-256 {entry['sha256'][:12]}." if "sha256" in entry else "")
        shown = "as above"
        if settings is not None and entry["key"] is not None:
            try:
                found = setting(settings, entry["key"])
                shown = shown if found == entry["value"] else f"CHANGED: {found!r}"
            except FormsafeError:
                shown = "not used"
        cells = (entry["choice"], entry["paper"], ours, entry["key"] or CODE, shown)
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows


def assumptions_page(entries: Iterable[Mapping[str, Any]]) -> str:
    """`docs/assumptions.md`."""
    lines = ["# Assumptions", "", "What the paper leaves open, and what the study in `config/config.yaml` does."]
    lines += ["Made from `workflow/data/assumptions.yaml` by `make schema`.", ""]
    lines += [f"| {' | '.join(COLUMNS[:-1])} |", f"|{'---|' * (len(COLUMNS) - 1)}"]
    for row in assumption_rows(entries):
        key = row[COLUMNS[3]]
        cells = [*(row[name] for name in COLUMNS[:3]), key if key == CODE else f"`{key}`"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
