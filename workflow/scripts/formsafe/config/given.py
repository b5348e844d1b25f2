"""What a user gives beside the merged configuration: its files, `--config` and the files asked for."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from formsafe.config.grid import learning_rate_id
from formsafe.config.messages import refuse
from formsafe.config.settings.study import StudySettings
from formsafe.core.errors import FormsafeError
from formsafe.core.layout import partitions
from formsafe.core.records import NONE
from formsafe.formats.registry import format_names

# Digits with at most one point and an exponent. `float()` would also take `inf`, `1_000` and ` 5e-5`, and the message
# would advise a path with `lr=Infinity`.
_RATE = re.compile(r"\d+(\.\d*)?(e-?\d+)?")


def require_unique_keys(files: Iterable[str | Path]) -> None:
    """Raise FormsafeError if a key is twice in a section of a YAML file: YAML takes the last and says nothing."""
    refuse(
        f"{file}, line {line}: {key}: is there twice, first in line {first}"
        for file in files
        for key, first, line in _twice(yaml.compose(Path(file).read_text(encoding="utf-8")))
    )


def _twice(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Each repeated key below `node` with the lines where it is first and again."""
    if isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            yield from _twice(entry, f"{prefix}{number}.")
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in seen:
            yield name, seen[name], line
        seen.setdefault(name, line)
        yield from _twice(value, f"{name}.")


def with_presets(models: Any, folder: str | Path) -> Any:
    """The section `models` of a study on top of the presets in `folder`: its own entries and keys take precedence."""
    merged = {"models": model_presets(folder)}
    update_config(merged, {"models": models})
    return merged["models"]


def model_presets(folder: str | Path) -> dict[str, Any]:
    """The entries of `models` that every study can name: each file of `folder` is one, under the file's name.

    Raises:
        FormsafeError: naming each file that holds no such entry.
    """
    found, problems = {}, []
    for path in sorted(Path(folder).glob("*.yaml")):
        try:
            found[path.stem] = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(found[path.stem], dict):
                problems.append(f"{path}: must be the section of a model (keys with values)")
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(f"{path}: is not YAML ({' '.join(str(error).split())})")
    refuse(problems)
    return found


def nested_settings(entries: Iterable[str]) -> dict[str, Any]:
    """The `KEY={...}` entries of `--config` as YAML means them.

    Of what is in braces or brackets Snakemake makes texts: `judges={policy: {threshold: 4}}` would hold the text "4".
    """
    given = (entry.partition("=") for entry in entries)
    return {key: yaml.safe_load(text) for key, _, text in given if text.lstrip().startswith(("{", "["))}


def require_known_targets(targets: Iterable[str], study: StudySettings) -> None:
    """Raise FormsafeError for a file asked for by a name that the study does not have or writes in another way.

    Args:
        targets: paths of files.
        study: the checked configuration.
    """
    known = {"model": {*study.models}, "method": {*study.methods}, "judge": {*study.judges}}
    known["format"] = {NONE, *format_names()}
    for target in targets:
        owner = Path(target).parts[1:2]
        if owner and owner[0] != study.study:
            raise FormsafeError(
                f"{target} belongs to the study {owner[0]!r}, the configuration is that of {study.study!r}: name the "
                "other one with --configfile."
            )
        for key, name in partitions(target).items():
            if key in known and name.split("+")[0] not in known[key]:
                raise FormsafeError(f"{target}: there is no {key} {name!r}, only {', '.join(sorted(known[key]))}.")
            if key == "lr" and name != NONE:
                _require_rate(target, name)


def _require_rate(target: str, name: str) -> None:
    written = learning_rate_id(float(name)) if _RATE.fullmatch(name) and float(name) > 0 else None
    if written is None:
        raise FormsafeError(f"{target}: {name!r} is not a learning rate; write it as 5e-5 or 1.2e-2.")
    if name != written:
        raise FormsafeError(f"{target}: write the learning rate {name} as {written}, as the study's own paths do.")
