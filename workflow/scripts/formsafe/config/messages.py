"""What is wrong with a configuration, in plain words and by the key as it is written in the YAML."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from formsafe.core.errors import FormsafeError

# By pydantic's type of error; its own words for them speak of Python.
_PLAIN = {
    "extra_forbidden": "unknown key (misspelt, or of another version?)",
    "missing": "is missing",
    "model_type": "must be a section (keys with values)",
    "dict_type": "must be a section (keys with values)",
    "list_type": "must be a list",
    "too_short": "must not be empty",
    "string_type": "must be a text",
    "invalid_key": "a key must be a text: put numbers, and yes, no, on and off, in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
# Sign, mantissa and exponent of a number in quotes (`"5e-5"`, `.5`, `+3.`): the message shows how YAML wants it. In
# YAML 1.1 `5e-5` is a text even without quotes, so that advice without point or sign would end in the same error.
_NUMBER = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+))?")


def config_error(problems: Iterable[str]) -> FormsafeError:
    """The error that lists `problems`, each of which begins with its key."""
    return FormsafeError("The configuration is wrong:\n" + "\n".join(f"  {problem}" for problem in problems))


def refuse(problems: Iterable[str]) -> None:
    """Raise the error that lists `problems`, if there are any."""
    if problems := list(problems):
        raise config_error(problems)


def field_problems(raw: Mapping[str, Any], error: ValidationError) -> list[str]:
    """One line for each key of `raw` that the typed settings refuse."""
    problems: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        problems.setdefault(_key(raw, detail["loc"]), []).append(_message(detail))
    return [f"{key}: {', or '.join(messages)}" for key, messages in problems.items()]


def unknown(key: str, names: Iterable[str], known: Iterable[str], where: str) -> Iterator[str]:
    """One line for each of `names`, which `key` holds, that is not among the `known` ones of a section."""
    known = sorted(known)
    for name in names:
        if name not in known:
            yield f"{key}: {name!r} is not in {where} ({', '.join(known)})"


def _message(detail: Any) -> str:
    kind, given = detail["type"], detail["input"]
    if isinstance(given, str) and kind in ("float_type", "int_type"):
        return f"is the text {given!r}, not a number: write {_as_number(given, whole=kind == 'int_type')}"
    if kind == "string_type" and detail["loc"][-1] == "[key]":
        return _PLAIN["invalid_key"]
    own = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return _PLAIN.get(kind, own)


def _as_number(text: str, whole: bool) -> str:
    """`text` as YAML 1.1 reads it for a number: an exponent needs a point before it and a sign."""
    found = _NUMBER.fullmatch(text.strip().replace("_", ""))
    if found is None or not math.isfinite(float(found[0])):
        return "a whole number" if whole else "a number"
    if whole:
        value = Decimal(found[0])
        return f"{int(value)}" if value == int(value) else "a whole number"
    sign, mantissa = found[1].replace("+", ""), format(Decimal(found[2]), "f")
    if found[3] is None:
        return sign + mantissa
    return f"{sign}{mantissa if '.' in mantissa else f'{mantissa}.0'}e{int(found[3]):+}"


def _key(raw: Any, location: Sequence[int | str]) -> str:
    """The key as it is written in the configuration: pydantic adds which branch of a union it tried."""
    parts = []
    for part in location:
        if part == "[key]" or (isinstance(part, str) and not isinstance(raw, Mapping)):
            continue
        written = next((key for key in raw if key == part), part) if isinstance(raw, Mapping) else part
        # YAML reads an unquoted yes, on, no or off as a truth value, which would be shown as 1 or 0.
        parts.append(("yes" if written else "no") if isinstance(written, bool) else str(part))
        raw = raw.get(part) if isinstance(raw, Mapping) else raw[part]
    return ".".join(parts)
