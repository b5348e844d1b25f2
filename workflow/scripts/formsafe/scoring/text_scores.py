"""Scores computed from the text: ROUGE-L and Sentence-BERT with and without the format, leakage, refusals, length."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from formsafe.config.settings.judge import TaskSettings
from formsafe.core.files import read_json, read_jsonl, write_json, write_jsonl
from formsafe.core.provenance import stage_record
from formsafe.formats.base import Format, first_reading
from formsafe.formats.registry import get_formats
from formsafe.generation.thoughts import split_thoughts
from formsafe.scoring.answers import Answer, read_answers
from formsafe.scoring.degenerate import degenerate
from formsafe.scoring.refusals import is_refusal
from formsafe.scoring.rouge import rouge_l
from formsafe.sources.models import model_folder

Fit = Literal["strict", "loose"]
Formats = Mapping[str, Format]


@dataclass(frozen=True)
class TextJob:
    """Inputs and outputs of the stage.

    Args:
        encoder: JSON with the `path` of the sentence-transformers model.
        task: JSONL of the answers to the task prompts.
        others: name to answers of each further prompt set (`harmful`, `benign`).
        reference: test examples in the format that the task answers are compared with.
        more_references: the same in further formats, by name; only for base models, which are compared with runs of
            every format, each against the reference of that run's format.
        corpus: the same examples as sentences.
        scores: JSONL to write, by prompt set, `task` among them.
        metrics: JSON with the stage's figures to write.
        tasks: settings of the similarities.
        format: the format that the run was trained on, None where it was not.
        formats: the formats to look for in the answers, `format` among them.
        code: digest of the code.
    """

    encoder: str | Path
    task: str | Path
    others: Mapping[str, str | Path]
    reference: str | Path
    corpus: str | Path
    scores: Mapping[str, str | Path]
    metrics: str | Path
    tasks: TaskSettings
    format: str | None
    formats: Sequence[str]
    code: str
    more_references: Mapping[str, str | Path] = field(default_factory=dict)


def score_texts(job: TextJob) -> None:
    """Score a run's answers by their text: similarity to the reference, leakage, refusals, degenerate answers."""
    started = time.time()
    known = get_formats(job.formats)
    references = _texts(job.reference)
    plain = {row["id"]: " ".join(row["sentences"]) for row in read_jsonl(job.corpus)}
    known_ids = references.keys() & plain.keys()
    answers = read_answers(job.task, known_ids, f"the examples of {job.reference} and {job.corpus}")
    similarities = _similarities(answers, references, plain, known, job)
    records = {"task": [_record(answer, known, job.format, similarities[answer.id]) for answer in answers]}
    for name, path in job.others.items():
        others = read_answers(path)
        records[name] = [_record(each, known, job.format, {"refusal": is_refusal(each.text)}) for each in others]
    figures = {}
    for name, found in records.items():
        write_jsonl(job.scores[name], found)
        figures[name] = {"answers": len(found)}
        for kind in ("empty", "repeated", "cut"):
            figures[name][kind] = sum(record[kind] for record in found)
    write_json(job.metrics, {"answers": figures} | stage_record(started, job.code))


def _texts(path: str | Path) -> dict[str, str]:
    """Reference texts by id."""
    return {row["id"]: row["messages"][-1]["content"] for row in read_jsonl(path)}


def _similarities(
    answers: Sequence[Answer], references: Mapping[str, str], plain: Mapping[str, str], known: Formats, job: TextJob
) -> dict[str, dict[str, float]]:
    """ROUGE-L and S-BERT of each task answer, with and without the format, by id.

    Example: `{"wikisum-7": {"rouge_l": 0.2, "sbert": 0.9, "rouge_l_neutral": 0.2, "sbert_neutral": 0.9,
    "rouge_l[json]": 0.1, "sbert[json]": 0.8}}`, the last two against the reference of a further format.
    """
    pairs = {"": [(answer.text, references[answer.id]) for answer in answers]}
    pairs["_neutral"] = [(without_format(answer.text, known), plain[answer.id]) for answer in answers]
    for name, path in job.more_references.items():
        texts = _texts(path)
        pairs[f"[{name}]"] = [(answer.text, texts[answer.id]) for answer in answers]
    everything = [pair for column in pairs.values() for pair in column]
    cosines = iter(cosine_similarities(everything, model_folder(read_json(job.encoder)), job.tasks))
    found: dict[str, dict[str, float]] = {answer.id: {} for answer in answers}
    for suffix, column in pairs.items():
        for answer, pair in zip(answers, column, strict=True):
            found[answer.id][f"rouge_l{suffix}"] = round(rouge_l(*pair, job.tasks.rouge_stemming), 6)
            found[answer.id][f"sbert{suffix}"] = next(cosines)
    return found


def _record(answer: Answer, formats: Formats, format: str | None, scores: dict[str, Any]) -> dict[str, Any]:
    fits = leakage(answer.text, format, formats)
    wrong = degenerate(answer.text, answer.finish_reason)
    return {"id": answer.id, **scores, **fits, "tokens": answer.tokens, **wrong}


def leakage(answer: str, format: str | None, formats: Formats) -> dict[str, Any]:
    """Whether an answer has the format of the run's training data (`leak_strict`: all, `leak_loose`: a part of it).

    Null for a run without a format; `formats` says how each of `formats` fits.
    """
    fits = {name: format_fit(answer, marked) for name, marked in formats.items()}
    strict, loose = (None, None) if format is None else (fits[format] == "strict", fits[format] is not None)
    return {"leak_strict": strict, "leak_loose": loose, "formats": fits}


def format_fit(answer: str, marked: Format) -> Fit | None:
    """Whether all of an answer (`strict`), a part (`loose`) or nothing of it has a format.

    What was cut off counts as a part, since an answer may end where the tokens did.
    """
    answer = split_thoughts(answer)[0]
    if not answer.strip():
        return None
    if first_reading([(marked.parse, answer)]):
        return "strict"
    return "loose" if first_reading([(marked.parse_cut, answer)]) else None


def without_format(answer: str, formats: Formats) -> str:
    """The sentences of an answer, joined by spaces, whichever format it has; else its words as they stand."""
    marked = [each for each in formats.values() if not each.traits.plain]
    readings = [getattr(each, name) for name in ("parse", "parse_loose", "parse_cut") for each in marked]
    sentences = first_reading((read, answer) for read in readings)
    return " ".join(sentences or answer.split())


def cosine_similarities(pairs: Sequence[tuple[str, str]], encoder: str | Path, tasks: TaskSettings) -> list[float]:
    """Cosine of the embeddings of each pair of texts, each distinct text encoded once, in batches."""
    texts = sorted({text for pair in pairs for text in pair})
    if not texts:
        return []
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(tasks.threads)
    # on the CPU also where there is a GPU: the rule asks for none, and another job may have it
    model = SentenceTransformer(str(encoder), device="cpu", trust_remote_code=False)
    vectors = model.encode(texts, batch_size=tasks.batch_size, normalize_embeddings=True, show_progress_bar=False)
    place = {text: number for number, text in enumerate(texts)}
    return [round(float(vectors[place[one]] @ vectors[place[other]]), 6) for one, other in pairs]
