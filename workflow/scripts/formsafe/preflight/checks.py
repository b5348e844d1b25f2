"""What a check found, and the page that a reader gets of all of them."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from formsafe.core.redaction import redact
from formsafe.core.texts import printable

State = Literal["ok", "no", "unchecked"]
_MARKS = {"ok": "ok", "no": "NO", "unchecked": "--"}
NARROWEST = 80


@dataclass(frozen=True)
class Check:
    """One line of the page. A `no` stops the study and names its remedy; `unchecked` could not be told from here."""

    section: str
    name: str
    state: State
    detail: str
    remedy: str = ""


def refused(section: str, name: str, error: object, remedy: str = "") -> Check:
    """A `no` from an error: its first sentence says what is wrong, the others (or else `remedy`) what to do."""
    said, _, advice = str(error).partition(". ")
    return Check(section, name, "no", said, advice or remedy)


def verdict(checks: Iterable[Check]) -> tuple[bool, str]:
    """Go or no-go, and the sentence that says so."""
    states = [check.state for check in checks]
    wrong, unknown = states.count("no"), states.count("unchecked")
    if wrong:
        return False, f"NO-GO: {wrong} {'thing is' if wrong == 1 else 'things are'} wrong; each NO says what to do."
    if unknown:
        return True, f"GO, but {unknown} could not be checked from here (marked --)."
    return True, "GO"


def page(title: str, checks: Sequence[Check], costs: str) -> str:
    """Write everything for a terminal, as wide as it is.

    Args:
        title: first line.
        checks: in order; those of a section are put together.
        costs: the table of costs.
    """
    width = max(NARROWEST, min(shutil.get_terminal_size((110, 24)).columns, 120))
    column = max((len(check.name) for check in checks), default=0) + 2
    lines = [title]
    for section in dict.fromkeys(check.section for check in checks):
        lines += ["", section]
        for check in (check for check in checks if check.section == section):
            lines += _wrapped(f"  {_MARKS[check.state]}  {check.name:<{column}}", check.detail, width)
            if check.remedy and check.state != "ok":
                lines += _wrapped(" " * (6 + column) + "-> ", check.remedy, width)
    return redact(printable("\n".join([*lines, "", costs, "", verdict(checks)[1]]))) + "\n"


def _wrapped(opening: str, text: str, width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(width, opening, " " * len(opening), break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text) or [opening.rstrip()]
