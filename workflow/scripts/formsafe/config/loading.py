"""From the merged YAML to a checked study: every mistake is named before any job starts."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from formsafe.config.grid import Run, enumerate_runs, matches, product_of
from formsafe.config.messages import config_error, field_problems, refuse, unknown
from formsafe.config.methods import method_problems
from formsafe.config.settings.grid import GridBlock
from formsafe.config.settings.study import StudySettings
from formsafe.core.records import NONE
from formsafe.formats.registry import format_names


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
        raise config_error(field_problems(raw, error)) from None
    refuse(_cross_problems(study))
    return study


def runs_of(study: StudySettings) -> list[Run]:
    """All runs of the study's grid."""
    return enumerate_runs(study.grid, study.methods, study.corpus)


def counted_examples(study: StudySettings, run: Run) -> int:
    """Examples that the optimiser steps of a training are counted from; a run of a soft prompt has no method."""
    same = run.method in study.methods and study.methods[run.method].same_steps
    return study.corpus.splits.train if same or run.examples == NONE else int(run.examples)


def models_of(study: StudySettings) -> list[str]:
    """All models that jobs read: of the runs, the judges (a server elsewhere has its own) and the projections."""
    names = {judge.model for judge in study.all_judges.values() if not judge.generation.elsewhere}
    for run in runs_of(study):
        projection = study.methods[run.method].projection
        names |= {run.model, *([projection.base, projection.aligned or run.model] if projection else [])}
    return sorted(names)


def _cross_problems(study: StudySettings) -> Iterator[str]:
    yield from _grid_problems(study)
    yield from _label_problems(study)
    yield from method_problems(study)
    yield from _judge_problems(study)
    formats = format_names()
    yield from unknown("tasks.base_reference_format", [study.tasks.base_reference_format], formats, "the formats")
    yield from unknown("analysis.tradeoff_formats", study.analysis.tradeoff_formats, formats, "the formats")
    yield from _data_problems(study)
    yield from _generation_problems(study)


def _judge_problems(study: StudySettings) -> Iterator[str]:
    judging = study.judging
    yield from unknown("judging.judges", judging.judges, study.judges, "judges")
    yield from unknown("judging.headline", [judging.headline], judging.judges, "judging.judges")
    yield from unknown("judging.audit.methods", judging.audit.methods, study.methods, "methods")
    yield from _refusals_problems(study)
    for name in study.harmful.keys() & study.benign.keys():
        yield f"benign.{name}: a source of harmful prompts has the same name"
    if len(set(judging.judges)) < len(judging.judges):
        yield f"judging.judges: {', '.join(judging.judges)} names a judge twice"
    for name in sorted(study.judges.keys() & judging.judges):
        yield from unknown(f"judges.{name}.model", [study.judges[name].model], study.models, "models")


def _refusals_problems(study: StudySettings) -> Iterator[str]:
    name = study.judging.refusals
    yield from unknown("judging.refusals", filter(None, [name]), study.judges, "judges")
    judge = study.judges.get(name or "")
    if judge is not None and not judge.labels:
        # a refusal is a label whose value is 1, which is the lowest score of the usual scale
        yield f"judging.refusals: {name} gives scores; name a judge with labels, of which true means refused"
    if judge is not None and judge.refused_field is not None:
        yield (
            f"judging.refusals: {name} has a refused_field, by which a refusal counts as harmless, not as refused; "
            "set it to null and give labels"
        )


def _grid_problems(study: StudySettings) -> list[str]:
    problems: list[str] = []
    for number, block in enumerate(study.grid):
        problems += _block_problems(study, f"grid.{number}", block)
    return problems if problems or runs_of(study) else ["grid: it has no run"]


def _block_problems(study: StudySettings, key: str, block: GridBlock) -> list[str]:
    problems = [
        *unknown(f"{key}.models", block.models, study.models, "models"),
        *unknown(f"{key}.methods", block.methods, study.methods, "methods"),
        *unknown(f"{key}.formats", block.formats, format_names(), "the formats"),
        *_repeated(key, block),
    ]
    if (most := max(block.examples, default=0)) > study.corpus.splits.train:
        problems.append(f"{key}.examples: {most:,} are more than corpus.splits.train has")
    trained = [name for name in block.methods if name in study.methods and study.methods[name].trained]
    if trained and not (block.formats and block.learning_rates and block.seeds):
        problems.append(f"{key}: {', '.join(trained)} needs formats, learning_rates and seeds, each at least one")
    if not problems:
        runs = list(product_of(block, study.methods, study.corpus))
        for place, entry in enumerate(block.exclude):
            if not any(matches(run, entry) for run in runs):
                problems.append(f"{key}.exclude.{place}: it matches no run of its block")
    return problems


def _repeated(key: str, block: GridBlock) -> Iterator[str]:
    """Values that a block's lists name twice, which would only look like more runs."""
    for field in ("models", "methods", "formats", "learning_rates", "seeds", "data_seeds", "examples"):
        given = getattr(block, field)
        counts = Counter([] if isinstance(given, str) else given)  # `data_seeds: seed` is a word, not a list of letters
        yield from (f"{key}.{field}: {value} is there twice" for value, count in counts.items() if count > 1)


def _label_problems(study: StudySettings) -> Iterator[str]:
    """Models or methods of the grid that figures and tables could not tell apart."""
    for section, entries in (("models", study.models), ("methods", study.methods)):
        used = {name for block in study.grid for name in getattr(block, section) if name in entries}
        labels: dict[str, str] = {}
        for name in sorted(used):
            if (first := labels.setdefault(entries[name].label, name)) != name:
                yield f"{section}.{name}.label: {entries[name].label!r} is also the label of {first}"


def _data_problems(study: StudySettings) -> Iterator[str]:
    splits = study.corpus.splits
    wanted = splits.train + splits.validation + splits.test
    if study.corpus.rows is not None and wanted > study.corpus.rows:
        yield f"corpus.splits: {wanted:,} examples are asked for, the source has {study.corpus.rows:,} rows"
    if "{title}" not in study.corpus.instruction:
        yield f"corpus.instruction: {study.corpus.instruction!r} has no {{title}}, so that all prompts would be equal"
    asked = study.corpus.instruction_by_format
    yield from unknown("corpus.instruction_by_format", asked, format_names(), "the formats")
    for name, template in asked.items():
        if "{instruction}" not in template:
            yield f"corpus.instruction_by_format.{name}: {template!r} has no {{instruction}}"
    for name, source in study.harmful.items():
        if source.select == "stratified" and source.category_column is None:
            yield f"harmful.{name}.category_column: is missing, which `select: stratified` needs"
        if source.rows is not None and source.count > source.rows:
            yield f"harmful.{name}.count: {source.count:,} prompts are asked for, the source has {source.rows:,} rows"
    micro = study.training.micro_batch_size
    steps = [stage.batch_size * stage.gradient_accumulation for stage in (study.adapter, study.soft_prompt)]
    if micro != "auto" and any(examples % micro for examples in steps):
        yield f"training.micro_batch_size: {micro} does not divide the examples of every optimiser step"


def _generation_problems(study: StudySettings) -> Iterator[str]:
    """What an engine would refuse, some of it only after training."""
    server = study.generation.server
    if server is None:
        return
    used = sorted({name for block in study.grid for name in block.methods if name in study.methods})
    trained = [name for name in used if study.methods[name].trained]
    if server.command is not None:
        if kept := [name for name in used if study.methods[name].keeps_soft_prompt]:
            yield (
                f"generation.server.command: {', '.join(kept)} answers with a soft prompt, which no server takes, and "
                "answers of a server and of this library are not to be compared; leave it out of the grid, or set "
                "generation.server to null"
            )
        if trained and "{adapter}" not in server.command:
            yield f"generation.server.command: has no {{adapter}}, which the runs of {', '.join(trained)} need"
        return
    if trained:
        yield (
            f"generation.server: {server.model} is served as it is, but the grid has {', '.join(trained)}; "
            "set it to null, or start a server in the jobs by `command`; the judge may stay on a server"
        )
    models = sorted({name for block in study.grid for name in block.models})
    if len(models) > 1:
        yield f"generation.server: it answers for one model, the grid has {', '.join(models)}"
