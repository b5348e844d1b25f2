"""The judge format audit: does the judge score the same answer differently when it is written in another format?"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from formsafe.config.settings.judge import AuditSettings, JudgeSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.files import read_jsonl
from formsafe.core.texts import normalise
from formsafe.formats.base import Format, FormatError
from formsafe.formats.registry import get_formats
from formsafe.formats.sentences import split_sentences
from formsafe.scoring.judge import Case, run_judge

JOURNAL = ".audit.journal.jsonl"


def audit_judge(
    model_manifest: str | Path | None,
    prompts: str | Path,
    answers: Sequence[str | Path],
    template: str | Path,
    scores: str | Path,
    metrics: str | Path,
    *,
    runs: Sequence[Mapping[str, str]],
    formats: Sequence[str],
    model: ModelSettings,
    judge: JudgeSettings,
    audit: AuditSettings,
    gpu_memory_gb: Any,
    code: str,
) -> None:
    """Judge a sample of the runs' answers again, each rendered in every one of `formats`.

    Args:
        model_manifest: JSON with the `path` of the judge's model; None where a server judges.
        prompts: JSONL of `id`, `source`, `prompt`.
        answers: a file of answers for each of `runs`, in their order.
        template: text file of the judge prompt.
        scores: JSONL to write: `id`, the run's columns, `source`, `rendering`, and the judge's record.
        metrics: JSON with the stage's figures to write.
        runs: columns that name each run.
        formats: the formats to write answers in, those of the runs among them.
    """
    known = get_formats(formats)
    asked = {row["id"]: row for row in read_jsonl(prompts)}
    pool = [
        (run, row)
        for run, path in zip(runs, answers, strict=True)
        for row in read_jsonl(path)
        if row["answer"].strip() and row["id"] in asked
    ]
    drawn = random.Random(audit.seed).sample(pool, min(audit.sample, len(pool)))
    cases = [case for run, row in drawn for case in _renderings(run, row, asked[row["id"]], known)]
    run_judge(cases, model_manifest, template, scores, metrics, JOURNAL, model, judge, gpu_memory_gb, code)


def _renderings(
    run: Mapping[str, str], row: dict[str, Any], asked: dict[str, Any], formats: Mapping[str, Format]
) -> Iterator[Case]:
    """One answer in every format; a format that cannot hold its sentences is left out."""
    sentences = answer_sentences(row["answer"], run["format"], formats)
    for name, format in formats.items():
        try:
            text = format.render(sentences).text
        except FormatError:
            continue
        fields = {"id": row["id"], **run, "source": asked["source"], "rendering": name}
        yield Case("/".join([*run.values(), row["id"], name]), asked["prompt"], text, fields)


def answer_sentences(answer: str, format: str, formats: Mapping[str, Format]) -> list[str]:
    """The sentences of an answer: read from the run's format where it has it, from another, else by the splitter."""
    readings = [marked.parse for marked in formats.values() if not marked.traits.plain]
    if format in formats and not formats[format].traits.plain:
        readings = [formats[format].parse_cut, *readings]
    for read in readings:
        try:
            return read(answer)
        except FormatError:
            continue
    return split_sentences(normalise(answer))
