"""From the merged YAML to a checked study: every mistake is named before any job starts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from formsafe.errors import FormsafeError
from formsafe.format_registry import format_names
from formsafe.grid import Run, enumerate_runs, idle_exclusions
from formsafe.settings.study import StudySettings

SOFT_PROMPTS = (None, "tuned")


def load_study(raw: Mapping[str, Any]) -> StudySettings:
    """Check the configuration as a whole.

    Args:
        raw: the merged configuration, as YAML gave it.

    Raises:
        FormsafeError: listing every key that is wrong and what to write instead.
    """
    try:
        study = StudySettings.model_validate(dict(raw))
    except ValidationError as error:
        raise _config_error(_field_problems(raw, error)) from None
    problems = list(_cross_problems(study))
    if problems:
        raise _config_error(problems)
    return study


def require_judge_prompt(study: StudySettings) -> None:
    """Raise FormsafeError unless the judge's prompt is there; apart, since it looks at the disk."""
    if not Path(study.judge.prompt).is_file():
        raise _config_error([f"judge.prompt: there is no file {study.judge.prompt} (looked from {Path.cwd()})"])


def runs_of(study: StudySettings) -> list[Run]:
    """All runs of the study's grid."""
    return enumerate_runs(study.grid, study.methods)


def _config_error(problems: list[str]) -> FormsafeError:
    return FormsafeError("The configuration is wrong:\n" + "\n".join(f"  {problem}" for problem in problems))


def _field_problems(raw: Mapping[str, Any], error: ValidationError) -> list[str]:
    problems: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if detail["type"] == "extra_forbidden":
            message = "unknown key (misspelt, or of another version?)"
        elif detail["type"] == "missing":
            message = "is missing"
        elif isinstance(detail["input"], str) and detail["type"] in ("float_type", "int_type"):
            message = f"is the text {detail['input']!r}, not a number (YAML reads 1e-5 as text: write 1.0e-5)"
        problems.setdefault(_key(raw, detail["loc"]), []).append(message)
    return [f"{key}: {', or '.join(messages)}" for key, messages in problems.items()]


def _key(raw: Any, location: Sequence[int | str]) -> str:
    """The key as it is written in the configuration: pydantic adds which branch of a union it tried."""
    parts = []
    for part in location:
        if part == "[key]" or (isinstance(part, str) and not isinstance(raw, Mapping)):
            continue
        parts.append(str(part))
        raw = raw.get(part) if isinstance(raw, Mapping) else raw[part]
    return ".".join(parts)


def _cross_problems(study: StudySettings) -> Iterator[str]:
    yield from _grid_problems(study)
    for name, method in study.methods.items():
        if method.soft_prompt not in SOFT_PROMPTS:
            yield f"methods.{name}.soft_prompt: {method.soft_prompt!r} is not one of null, tuned"
        if method.soft_prompt_at_inference and method.soft_prompt is None:
            yield f"methods.{name}.soft_prompt_at_inference: there is no soft prompt to keep; set soft_prompt"
        shared = study.methods.get(method.adapter_of) if method.adapter_of is not None else None
        if method.adapter_of is not None and (shared is None or not shared.trained or shared.adapter_of is not None):
            yield f"methods.{name}.adapter_of: {method.adapter_of!r} is no method that trains adapters of its own"
    if study.judge.model not in study.models:
        yield f"judge.model: {study.judge.model!r} is not in models"
    yield from _unknown("judge.audit.methods", study.judge.audit.methods, study.methods, "methods")
    formats = format_names()
    yield from _unknown("tasks.base_reference_format", [study.tasks.base_reference_format], formats, "the formats")
    yield from _unknown("analysis.tradeoff_formats", study.analysis.tradeoff_formats, formats, "the formats")
    yield from _data_problems(study)


def _grid_problems(study: StudySettings) -> Iterator[str]:
    undefined = False
    for number, block in enumerate(study.grid):
        key = f"grid.{number}"
        problems = [
            *_unknown(f"{key}.models", block.models, study.models, "models"),
            *_unknown(f"{key}.methods", block.methods, study.methods, "methods"),
            *_unknown(f"{key}.formats", block.formats, format_names(), "the formats"),
        ]
        undefined = undefined or bool(problems)
        if not problems:
            idle = idle_exclusions(block, study.methods)
            problems += [f"{key}.exclude.{place}: it matches no run of its block" for place in idle]
        yield from problems
        trained = [name for name in block.methods if name in study.methods and study.methods[name].trained]
        if trained and not (block.formats and block.learning_rates and block.seeds):
            yield f"{key}: {', '.join(trained)} needs formats, learning_rates and seeds, each at least one"
    if not undefined and not runs_of(study):
        yield "grid: it has no run"


def _unknown(key: str, names: Any, known: Any, where: str) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{key}: {name!r} is not in {where} ({', '.join(sorted(known))})"


def _data_problems(study: StudySettings) -> Iterator[str]:
    splits = study.corpus.splits
    wanted = splits.train + splits.validation + splits.test
    if study.corpus.rows is not None and wanted > study.corpus.rows:
        yield f"corpus.splits: {wanted:,} examples are asked for, the source has {study.corpus.rows:,} rows"
    if "{title}" not in study.corpus.instruction:
        yield f"corpus.instruction: {study.corpus.instruction!r} has no {{title}}, so that all prompts would be equal"
    for name, source in study.harmful.items():
        if source.select == "stratified" and source.category_column is None:
            yield f"harmful.{name}.category_column: is missing, which `select: stratified` needs"
        if source.rows is not None and source.count > source.rows:
            yield f"harmful.{name}.count: {source.count:,} prompts are asked for, the source has {source.rows:,} rows"
    batch, micro = study.adapter.batch_size, study.training.micro_batch_size
    if micro != "auto" and (batch % micro or study.soft_prompt.batch_size % micro):
        yield f"training.micro_batch_size: {micro} does not divide the batch sizes"
