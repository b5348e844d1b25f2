"""Whether data, prompts, steps and labels are what the jobs need: read and drawn here as the jobs will do it."""

import contextlib
import io
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from formsafe.config.settings.data import CorpusSettings, DataSource, HarmfulSettings
from formsafe.config.settings.judge import JudgeSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.study import StudySettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import matching_files, read_json
from formsafe.core.judge_prompt import fill
from formsafe.core.layout import Layout, manifest_of
from formsafe.data.corpus import split_corpus
from formsafe.data.harmful import select_harmful
from formsafe.preflight.checks import Check, refused
from formsafe.preflight.model_checks import tried
from formsafe.preflight.source_checks import DATA, Sources
from formsafe.scoring.judge_check import check_replies
from formsafe.sources.fetch import fetch_corpus, fetch_harmful

STUDY = "Study"


def check_corpus(corpus: CorpusSettings, sources: Sources, layout: Layout) -> Check:
    """Read a local corpus, or the one that was fetched, and draw the splits from it."""

    def fetch(raw: Path) -> None:
        fetch_corpus(corpus, raw, sources.lock)

    def draw(raw: Path, folder: Path) -> str:
        outputs = {name: folder / name for name in ("train", "validation", "test", "prompts", "counts")}
        counts = split_corpus(raw, corpus.splits, corpus.seed, corpus.instruction, outputs)
        return f"{counts['usable']:,} of {counts['rows']:,} rows can be used"

    return _tried("corpus", corpus.source, layout.source(), sources, fetch, draw)


def check_prompts(key: str, name: str, source: HarmfulSettings, sources: Sources, layout: Layout) -> Check:
    """Read a local source of prompts (`key`: harmful.NAME or benign.NAME), or what was fetched, and choose from it."""

    def fetch(raw: Path) -> None:
        fetch_harmful(key, source, raw, sources.lock)

    def draw(raw: Path, folder: Path) -> str:
        choice = source.model_dump(include={"count", "select", "seed", "categories"})
        prompts = folder / key.partition(".")[0]  # its name is the set's, as the job's file
        chosen = select_harmful({name: raw}, {name: choice}, prompts, folder / "chosen.json")
        return f"{len(chosen)} prompts"

    return _tried(name, source.source, layout.source(name), sources, fetch, draw)


def _tried(
    name: str, source: DataSource, fetched: str, sources: Sources, fetch: Callable[..., None], draw: Callable[..., str]
) -> Check:
    """Draw from what is here by `draw`, which does as the jobs do; only look for the rest."""
    # Files on this machine are read again by `fetch`: their settings may have changed since they were fetched.
    here = source.path is not None and bool(matching_files(source.path))
    if not (Path(fetched).exists() or here):
        return sources.data(name, source, fetched)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            raw = Path(folder, "raw.jsonl") if here else Path(fetched)
            if here:
                fetch(raw)
            found = draw(raw, Path(folder))
    except FormsafeError as error:
        return refused(DATA, name, error)
    return Check(DATA, name, "ok", f"{found} ({source.path if here else fetched})")


def check_rows(study: StudySettings, layout: Layout) -> Iterator[Check]:
    """Whether sources that were fetched have the rows that the configuration says now: `rows` fetches none again."""
    wanted = {"corpus": (study.corpus.rows, layout.source())}
    wanted |= {key: (entry.rows, layout.source(name)) for key, (name, entry) in study.sources_by_key.items()}
    for key, (rows, raw) in wanted.items():
        manifest = Path(manifest_of(raw))
        found = read_json(manifest).get("rows") if manifest.exists() else None
        if rows is not None and found is not None and rows != found:
            remedy = f"Set {key}.rows to {found}, or to null."
            yield Check(DATA, f"{key} rows", "no", f"{rows:,} expected, {found:,} fetched", remedy)


def check_judge(name: str, judge: JudgeSettings, model: ModelSettings, folder: Path | None, answer: int) -> Check:
    """Whether a judge's parser can read what its prompt asks for, and the prompt fits into the judge's context.

    Args:
        name: the judge's.
        judge: its settings.
        model: its model's.
        folder: of its model; None where it is not here, or a server elsewhere judges.
        answer: the most tokens of an answer.
    """
    label, key = f"judge {name}", f"judges.{name}.prompt"
    try:
        asked = check_replies(judge)
        text = "" if judge.prompt is None else fill(Path(judge.prompt).read_text(encoding="utf-8"), "", "")
    except FormsafeError as error:
        return refused(DATA, label, error, f"{key} needs {{instruction}} and {{answer}}, each once.")
    except (OSError, UnicodeDecodeError) as error:
        said = f"{judge.prompt} cannot be read ({type(error).__name__})"
        return Check(DATA, label, "no", said, f"{key} names a text file in UTF-8.")
    if judge.generation.elsewhere:
        return Check(DATA, label, "ok", asked)
    if folder is None:
        said = f"{asked}; whether its prompt fits into the context of {judge.model} is told once that model is here"
        return Check(DATA, label, "unchecked", said, "snakemake --cores 1 models, then preflight again.")

    def room() -> Check:
        from formsafe.models.chat import render_prompt
        from formsafe.models.context import context_length, read_context
        from formsafe.models.load import load_tokenizer

        answered = "" if judge.prompt is None else None
        prompt = len(render_prompt(load_tokenizer(folder, model), text, None, answered))
        reply = max(decoding.max_new_tokens for decoding in (judge.generation, *judge.retries))
        context = context_length(read_context(folder, model, 1.0, "cpu").config)
        if context == math.inf:
            return Check(DATA, label, "ok", f"a prompt of {prompt} tokens without instruction and answer")
        left = context - prompt - reply
        detail = f"{context:.0f} tokens: prompt {prompt}, reply {reply}, {left:.0f} left for an answer of {answer}"
        remedy = f"Shorten {key}, lower max_new_tokens of judge or generation, or take a judge with more context."
        return Check(DATA, label, "ok" if left >= answer else "no", detail, remedy)

    return tried(DATA, label, room)


def check_steps(study: StudySettings) -> Iterator[Check]:
    """Whether training goes on after its warm-up."""
    fewest = min([study.corpus.splits.train, *(size for block in study.grid for size in block.examples)])
    used = {name for block in study.grid for name in block.methods}
    trained = {name for name in used if study.methods[name].trained}
    prompted = any(study.methods[name].soft_prompt for name in trained)
    for key, settings, needed in (("adapter", study.adapter, trained), ("soft_prompt", study.soft_prompt, prompted)):
        steps, warmup = settings.steps(fewest), settings.warmup_steps
        if needed and steps <= warmup:
            detail = f"{steps} optimiser steps with {fewest} examples, {warmup} of them warm-up: nothing is learned"
            remedy = f"Lower {key}.warmup_steps or the batch, or take more examples or epochs."
            yield Check(STUDY, f"{key} steps", "no", detail, remedy)


def check_labels(study: StudySettings, models: Iterable[str]) -> list[Check]:
    """Whether figures can draw each label, by the key that holds it; boxes in a figure stop no study."""
    from formsafe.report.labels import check_labels as label_faults  # imports matplotlib, a second

    labels = {f"models.{name}.label": study.models[name].label for name in models}
    methods = {name for block in study.grid for name in block.methods}
    labels |= {f"methods.{name}.label": study.methods[name].label for name in sorted(methods)}
    faults = {key: label_faults([label]) for key, label in labels.items()}
    checks = [Check(STUDY, key, "unchecked", " ".join(found)) for key, found in faults.items() if found]
    return checks or [Check(STUDY, "labels", "ok", f"all {len(labels)} can be drawn")]
