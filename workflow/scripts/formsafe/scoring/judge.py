"""The judge: scores from 1 to 5 for answers, with what it said, how sure it was, and no score where it gave none."""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from formsafe.config.settings.generation import Decoding
from formsafe.config.settings.judge import JudgeSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, read_jsonl, write_json, write_jsonl
from formsafe.core.judge_prompt import fill
from formsafe.core.provenance import stage_record
from formsafe.generation.engines import make_engine
from formsafe.generation.journal import Journal
from formsafe.generation.replies import Engine, Prompt, Reply, ask, generation_figures, prompts_digest, require_room
from formsafe.scoring.refusals import is_refusal
from formsafe.scoring.score_parser import Score, parse_score, states_score

JOURNAL = ".judge.journal.jsonl"
State = Literal["parsed", "parsed_on_retry", "judge_refused", "unparsed", "no_room"]


@dataclass(frozen=True)
class Case:
    """An answer to be judged; `fields` go into its record."""

    id: str
    instruction: str
    answer: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """The latest try at one answer."""

    number: int
    decoding: Decoding
    reply: Reply
    score: Score | None

    def may_mend(self, decoding: Decoding) -> bool:
        """Whether another try may give a missing score: a greedy reply that ended by itself would only be repeated."""
        repeated = self.decoding.temperature == decoding.temperature == 0 and self.reply.finish_reason != "length"
        return self.score is None and not repeated


def judge_answers(
    model_manifest: str | Path | None,
    prompts: str | Path,
    answers: str | Path,
    template: str | Path,
    scores: str | Path,
    metrics: str | Path,
    *,
    model: ModelSettings,
    judge: JudgeSettings,
    gpu_memory_gb: Any,
    code: str,
) -> None:
    """Judge a run's answers to the harmful prompts.

    Args:
        model_manifest: JSON with the `path` of the judge's model; None where a server judges.
        prompts: JSONL of `id`, `source`, `prompt`.
        answers: JSONL of `id`, `answer`, of the same ids.
        template: text file of the judge prompt.
        scores: JSONL to write.
        metrics: JSON with the stage's figures to write; the journal lies beside it while the stage runs.
    """
    asked = {row["id"]: row for row in read_jsonl(prompts)}
    rows = read_jsonl(answers)
    if strangers := [row["id"] for row in rows if row["id"] not in asked]:
        raise FormsafeError(
            f"{answers} answers prompt {strangers[0]}, which is not among the harmful prompts. Delete it and run again."
        )
    cases = [
        Case(
            row["id"],
            asked[row["id"]]["prompt"],
            row["answer"],
            {key: asked[row["id"]][key] for key in ("id", "source")},
        )
        for row in rows
    ]
    run_judge(cases, model_manifest, template, scores, metrics, JOURNAL, model, judge, gpu_memory_gb, code)


def run_judge(
    cases: Sequence[Case],
    model_manifest: str | Path | None,
    template: str | Path,
    scores: str | Path,
    metrics: str | Path,
    journal_name: str,
    model: ModelSettings,
    judge: JudgeSettings,
    gpu_memory_gb: Any,
    code: str,
) -> None:
    """Judge `cases` and write `scores` and `metrics`."""
    started = time.time()
    manifest = {} if model_manifest is None else read_json(model_manifest)
    text = Path(template).read_text(encoding="utf-8")
    asked = [Prompt(case.id, fill(text, case.instruction, case.answer)) for case in cases]
    engine = make_engine(manifest, model, judge.generation, gpu_memory_gb, watch_digits=True)
    header = {
        "model": manifest,
        "prompts": prompts_digest(asked),
        "settings": judge.model_dump(include={"generation", "retries"}),
        "engine": engine.describe(),
        "code": code,
    }
    journal = Journal(Path(metrics).parent / journal_name, header)
    contested = {case.id for case in cases if states_score(case.instruction) or states_score(case.answer)}
    records, replies = judge_prompts(engine, asked, contested, judge, journal)
    write_jsonl(scores, ({**case.fields, **record} for case, record in zip(cases, records, strict=True)), private=True)
    states = Counter(record["state"] for record in records)
    figures = {"states": dict(sorted(states.items()))} | generation_figures(engine, journal, replies)
    write_json(metrics, figures | stage_record(started, code, judge.generation.seed, journal.continued_seconds))
    journal.remove()


def judge_prompts(
    engine: Engine, prompts: Sequence[Prompt], contested: Collection[str], judge: JudgeSettings, journal: Journal
) -> tuple[list[dict[str, Any]], list[Reply]]:
    """Ask the judge, again as configured where it gave no score; return a record a prompt, and all replies.

    `contested` are the ids of the prompts whose judged text states a score itself. A try leaves out prompts after which
    the judge's context has no room for its reply. Raises FormsafeError where that is every prompt at the first try.
    """
    room = {prompt.id: engine.room(prompt) for prompt in prompts}
    if room and max(room.values()) < judge.generation.max_new_tokens:
        require_room(engine, prompts, judge.generation)
    latest: dict[str, Attempt] = {}
    everything: list[Reply] = []
    for number, decoding in enumerate([judge.generation, *judge.retries], start=1):
        open_ones = [prompt for prompt in prompts if prompt.id not in latest or latest[prompt.id].may_mend(decoding)]
        left = [prompt for prompt in open_ones if room[prompt.id] >= decoding.max_new_tokens]
        if len(left) < len(open_ones):
            print(f"Try {number} leaves out {len(open_ones) - len(left)} prompts: no room in the context for a reply.")
        if not left:
            continue
        replies = ask(engine, left, decoding, journal, f"try {number}")
        everything += replies
        for prompt, reply in zip(left, replies, strict=True):
            before = latest[prompt.id].number if prompt.id in latest else 0
            latest[prompt.id] = Attempt(before + 1, decoding, reply, read_score(reply, prompt.id in contested))
    unasked = Attempt(0, judge.generation, Reply("", 0, "length"), None)
    return [score_record(latest.get(prompt.id, unasked)) for prompt in prompts], everything


def read_score(reply: Reply, contested: bool) -> Score | None:
    """The score that the judge gave.

    Where the judged text states a score itself, the judge may have repeated that: only the last line of a reply that
    was not cut off is its verdict then.
    """
    cut_off = reply.finish_reason != "stop"  # by the limit, or by a filter
    return None if contested and cut_off else parse_score(reply.text, cut_off=cut_off, last_line_only=contested)


def score_record(attempt: Attempt) -> dict[str, Any]:
    """What the judge's last reply says: score, state, reply, and the probabilities of the five digits in its place."""
    reply, score = attempt.reply, attempt.score
    state: State = "parsed" if attempt.number == 1 else "parsed_on_retry"
    if score is None:
        # a reply that was cut off is one that had set out to judge, though it may have quoted a refusal
        refused = reply.finish_reason == "refused" or (reply.finish_reason == "stop" and is_refusal(reply.text))
        unread: State = "no_room" if reply.finish_reason == "no_room" or not attempt.number else "unparsed"
        state = "judge_refused" if refused else unread
    probabilities = None if score is None else next((p for end, p in reply.digits if end == score.at + 1), None)
    total = sum(probabilities) if probabilities else 0.0
    expected = sum(d * p for d, p in enumerate(probabilities, start=1)) / total if probabilities and total else None
    return {
        "score": None if score is None else score.value,
        "state": state,
        "tries": attempt.number,
        "reply": reply.text,
        "probabilities": None if probabilities is None else [round(p, 6) for p in probabilities],
        "expected_score": None if expected is None else round(expected, 6),
    }
