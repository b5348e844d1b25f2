"""The files on disk that a configuration names: a wrong path is an error that says which key holds it."""

from collections.abc import Iterator
from pathlib import Path

from formsafe.config.loading import models_of
from formsafe.config.messages import refuse
from formsafe.config.settings.study import StudySettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import matching_files, read_json
from formsafe.core.judge_prompt import check_template
from formsafe.core.layout import Layout, manifest_of


def require_files(study: StudySettings, layout: Layout, made: str) -> None:
    """Look for the judge's prompt and for every local source that the study still has to fetch.

    Args:
        study: the checked configuration.
        layout: the study's paths; what was fetched from a path already need not be there any more.
        made: folder that the workflow fills by itself: what is missing there is no fault.

    Raises:
        FormsafeError: listing every key whose file is missing or, the judge's prompt, has not its placeholders.
    """
    problems: list[str] = []
    for name, judge in study.all_judges.items():
        problems += _prompt_problems(name, judge.prompt)
    for key, path, fetched, problem in _local_sources(study, layout):
        if problem and not Path(path).is_relative_to(made) and not _came_from(path, Path(fetched)):
            problems.append(f"{key}: {problem}{_seen_from(path)}")
    refuse(problems)


def _prompt_problems(judge: str, prompt: str | None) -> Iterator[str]:
    if prompt is None:  # the judge takes the conversation through its own chat template
        return
    try:
        check_template(Path(prompt).read_text(encoding="utf-8"))
    except FormsafeError as error:
        yield f"judges.{judge}.prompt: {error} ({prompt})"
    except UnicodeDecodeError:
        yield f"judges.{judge}.prompt: {prompt} is not a text in UTF-8"
    except OSError:
        yield f"judges.{judge}.prompt: there is no file {prompt}{_seen_from(prompt)}"


def _local_sources(study: StudySettings, layout: Layout) -> Iterator[tuple[str, str, str, str | None]]:
    """Key, path, manifest of what was fetched from there, and what is wrong with each local source."""
    data = {"corpus": (study.corpus.source.path, manifest_of(layout.source()))}
    for key, (name, entry) in study.sources_by_key.items():
        data[key] = (entry.source.path, manifest_of(layout.source(name)))
    for key, (path, manifest) in data.items():
        if path is not None:
            yield f"{key}.source.path", path, manifest, None if matching_files(path) else f"there is no file {path}"
    models = {
        f"models.{name}": (study.models[name].path, layout.model(name), "config.json") for name in models_of(study)
    }
    models["tasks.encoder"] = (study.tasks.encoder.path, layout.encoder, "modules.json")
    for key, (path, manifest, needed) in models.items():
        if path is not None:
            yield f"{key}.path", path, manifest, _model_problem(path, needed)


def _model_problem(path: str, needed: str) -> str | None:
    if not Path(path, needed).is_file():
        return f"there is no {needed} in {path}"
    if not any(Path(path).rglob("*.safetensors")):
        why = "weights in other files are not loaded, since pickles can run code"
        return f"there is no *.safetensors in {path} ({why})"
    return None


def _came_from(path: str, manifest: Path) -> bool:
    record = read_json(manifest) if manifest.is_file() else {}
    return path in (record.get("source"), record.get("path"))


def _seen_from(path: str) -> str:
    return "" if Path(path).is_absolute() else f" (looked from {Path.cwd()})"
