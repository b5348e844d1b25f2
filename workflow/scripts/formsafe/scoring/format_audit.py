"""The judge format audit: does the judge score the same answer differently when it is written in another format?"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formsafe.config.settings.judge import AuditSettings
from formsafe.core.files import read_jsonl
from formsafe.core.texts import normalise
from formsafe.formats.base import Format, FormatError, first_reading
from formsafe.formats.registry import get_formats
from formsafe.formats.sentences import split_sentences
from formsafe.scoring.answers import Answer, read_answers
from formsafe.scoring.judge import Case, Judging, run_judge

Run = Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """Where the audited answers come from.

    Args:
        prompts: JSONL of `id`, `source`, `prompt`.
        answers: a file of answers per run, in the order of `runs`.
        runs: the columns that name each run.
        formats: the formats to write answers in, those of the runs among them.
        audit: how many are drawn, and the seed.
    """

    prompts: str | Path
    answers: Sequence[str | Path]
    runs: Sequence[Mapping[str, str]]
    formats: Sequence[str]
    audit: AuditSettings


def audit_judge(stage: Judging, sample: Sample, scores: str | Path, metrics: str | Path) -> None:
    """Judge a sample of the runs' answers again, each rendered in every format.

    Args:
        stage: the judge.
        sample: what is drawn from.
        scores: JSONL to write: `id`, the run's columns, `source`, `rendering`, and a `JudgeScore`.
        metrics: JSON with the stage's figures to write.
    """
    known = get_formats(sample.formats)
    asked = {row["id"]: row for row in read_jsonl(sample.prompts)}
    pool: list[tuple[Run, Answer]] = []
    for run, path in zip(sample.runs, sample.answers, strict=True):
        pool += [(run, answer) for answer in read_answers(path, asked, "the harmful prompts") if answer.text.strip()]
    cases: list[Case] = []
    for run, answer in distinct_prompts(pool, sample.audit):
        cases += _renderings(run, answer, asked[answer.id], known)
    run_judge(stage, cases, scores, metrics)


def distinct_prompts(pool: Sequence[tuple[Run, Answer]], audit: AuditSettings) -> list[tuple[Run, Answer]]:
    """A random sample of answers, at most one per prompt: answers to one prompt are alike and would count twice."""
    drawn: dict[str, tuple[Run, Answer]] = {}
    for run, answer in random.Random(audit.seed).sample(pool, len(pool)):
        drawn.setdefault(answer.id, (run, answer))
    return list(drawn.values())[: audit.sample]


def _renderings(
    run: Mapping[str, str], answer: Answer, asked: dict[str, Any], formats: Mapping[str, Format]
) -> Iterator[Case]:
    """One answer in every format; a format that cannot hold its sentences is left out."""
    sentences = answer_sentences(answer.text, run["format"], formats)
    for name, format in formats.items():
        try:
            text = format.render(sentences).text
        except FormatError:
            continue
        fields = {"id": answer.id, **run, "source": asked["source"], "rendering": name}
        yield Case("/".join([*run.values(), answer.id, name]), asked["prompt"], text, fields)


def answer_sentences(answer: str, format: str, formats: Mapping[str, Format]) -> list[str]:
    """The sentences of an answer: read from the run's format where it has it, from another, else by the splitter."""
    readings = [marked.parse for marked in formats.values() if not marked.traits.plain]
    if format in formats and not formats[format].traits.plain:
        readings = [formats[format].parse_cut, *readings]
    return first_reading((read, answer) for read in readings) or split_sentences(normalise(answer))
