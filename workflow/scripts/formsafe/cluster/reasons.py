"""Why Snakemake would run a job, in words."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import filterfalse
from typing import Any

# A rule's code is one of its parameters: the SHA-256 that `code_digest` makes, as `repr` writes it.
_DIGEST = re.compile(r"'[0-9a-f]{64}'")
_SHOWN = 3


def explain(reason: Any, makers: Mapping[str, str]) -> Iterator[str]:
    """Say in words why a job runs.

    Args:
        reason: the job's `snakemake.jobs.Reason`.
        makers: the rule that makes each file of the plan.
    """
    simple = {
        "forced": reason.forced,
        "not made yet": reason.missing_output,
        "was killed half-way": reason.incomplete_output,
        "other inputs than before": reason.input_changed,
        "its software environment changed": reason.software_stack_changed,
    }
    yield from (words for words, holds in simple.items() if holds)
    if changed := sorted(map(str, reason.updated_input - reason.updated_input_run)):
        yield f"changed input: {shortened(changed)}"
    if reason.updated_input_run:
        rules = (makers.get(str(file), "another job") for file in sorted(reason.updated_input_run))
        yield f"after {', '.join(dict.fromkeys(rules))}"
    if reason.params_changed:
        yield from changed_parameters(reason.params_changed.only_old, reason.params_changed.only_new)


def shortened(files: Sequence[str]) -> str:
    """The first few of many files."""
    return ", ".join(files[:_SHOWN]) + (", ..." if len(files) > _SHOWN else "")


def changed_parameters(before: Iterable[str], now: Iterable[str]) -> Iterator[str]:
    """What differs between the parameters that only the last execution had and those that only the next one has.

    Args:
        before: their representations, as Snakemake keeps them.
        now: the same.
    """
    old, new = (sorted(filterfalse(_DIGEST.fullmatch, side)) for side in (before, now))
    if len(old) + len(new) < len([*before, *now]):
        yield "its code changed"
    left = [_parsed(value) for value in old]
    for value in map(_parsed, new):
        partner = max(left, key=lambda other: _likeness(other, value), default=None)
        if partner is not None:
            left.remove(partner)
            yield from _differences(partner, value)
        else:
            yield f"new setting: {_short(value)}"
    yield from (f"setting gone: {_short(value)}" for value in left)


def _parsed(representation: str) -> Any:
    with suppress(ValueError, SyntaxError):
        return ast.literal_eval(representation)
    return representation  # of something that is no literal: the text itself has to do


def _likeness(left: Any, right: Any) -> float:
    if isinstance(left, dict) and isinstance(right, dict):
        # + 1: two sections without a common key are still more alike than a section and a text.
        return len(left.keys() & right.keys()) / max(1, len(left.keys() | right.keys())) + 1
    return float(type(left) is type(right))


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs between two values of a setting; of lists only the entries that came or went."""
    setting = f"setting {name}" if name else "a setting"
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            if before.get(key) != now.get(key):
                yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(before, list) and isinstance(now, list):
        for words, some, others in (("now also has", now, before), ("no longer has", before, now)):
            if entries := [entry for entry in some if entry not in others]:
                yield f"{setting} {words} {_short(entries[0])}{f' and {len(entries) - 1} more' * (len(entries) > 1)}"
    else:
        yield f"{setting} changed: {_short(before)} to {_short(now)}"


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 100 else repr(value)[:97] + "..."
