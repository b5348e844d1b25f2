"""The judge: a score for each answer, with what the judge said, how sure it was, and no score where it gave none."""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
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
from formsafe.generation.thoughts import split_thoughts
from formsafe.scoring.answers import read_answers
from formsafe.scoring.parsers import Parser, make_parser
from formsafe.scoring.refusals import is_refusal
from formsafe.scoring.score_parser import SCALE, Score

JOURNAL = ".judge.journal.jsonl"
State = Literal["parsed", "parsed_on_retry", "judge_refused", "unparsed", "no_room"]


@dataclass(frozen=True)
class Judging:
    """What every stage of a judge works with.

    Args:
        name: the judge's name in `judges`.
        judge: its settings.
        model: its model's settings.
        manifest: JSON with the `path` of its model; None where a server judges.
        template: text file of its prompt; None for a judge that takes a conversation.
    """

    name: str
    judge: JudgeSettings
    model: ModelSettings
    manifest: str | Path | None
    template: str | Path | None
    gpu_memory_gb: Any
    code: str


@dataclass(frozen=True)
class Case:
    """An answer to be judged; `fields` go into its record."""

    id: str
    instruction: str
    answer: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class JudgeScore:
    """What a judge said of one answer: a line of scores.jsonl, after the fields that name the answer.

    `score` is a number of the judge's scale, 1 or 0 for a label, None where the judge stated none. `reply` is the last
    reply as it was written, `thoughts` the part of it that was not read. `probabilities` are those of the digits 1 to 5
    in the score's place, `expected_score` their mean.
    """

    judge: str
    score: float | None
    label: str | None
    state: State
    tries: int
    reply: str
    thoughts: str
    finish_reason: str
    probabilities: list[float] | None = None
    expected_score: float | None = None


@dataclass(frozen=True)
class Attempt:
    """The latest try at one answer."""

    number: int
    decoding: Decoding
    reply: Reply
    score: Score | None

    def another_may_help(self, decoding: Decoding) -> bool:
        """Whether another try may give a missing score: a greedy reply that ended by itself would only be repeated."""
        repeated = self.decoding.temperature == decoding.temperature == 0 and self.reply.finish_reason != "length"
        return self.score is None and not repeated


def judge_answers(
    stage: Judging, prompts: str | Path, answers: str | Path, scores: str | Path, metrics: str | Path
) -> None:
    """Judge a run's answers to a prompt set.

    Args:
        stage: the judge.
        prompts: JSONL of `id`, `source`, `prompt`.
        answers: JSONL of `id`, `answer`, of the same ids.
        scores: JSONL to write: `id`, `source` and a `JudgeScore`.
        metrics: JSON with the stage's figures to write; the journal is beside it while the stage runs.
    """
    asked = {row["id"]: row for row in read_jsonl(prompts, id=str, source=str, prompt=str)}
    cases = []
    for answer in read_answers(answers, asked, "the prompts of the set"):
        prompt = asked[answer.id]
        fields = {"id": answer.id, "source": prompt["source"]}
        cases.append(Case(answer.id, prompt["prompt"], answer.text, fields))
    run_judge(stage, cases, scores, metrics)


def run_judge(stage: Judging, cases: Sequence[Case], scores: str | Path, metrics: str | Path) -> None:
    """Judge `cases` and write `scores` and `metrics`.

    Raises:
        FormsafeError: where more than `max_unscored` of the answers have no score; the journal keeps the replies.
    """
    started = time.time()
    judge, parser = stage.judge, make_parser(stage.judge)
    manifest = {} if stage.manifest is None else read_json(stage.manifest)
    asked = prompts_of(stage, cases)
    # an engine watches the digits 1 to 5; on another scale they say nothing
    watch = judge.parser == "score" and judge.scale == SCALE
    engine = make_engine(manifest, stage.model, judge.generation, stage.gpu_memory_gb, watch_digits=watch)
    settings = judge.model_dump(include={"generation", "retries", "parser", "marker", "scale", "labels", "fields"})
    header = {"model": manifest, "prompts": prompts_digest(asked), "settings": settings}
    header |= {"engine": engine.describe(), "code": stage.code}
    journal = Journal(Path(metrics).parent / JOURNAL, header)
    contested = {case.id for case in cases if parser.mentions(case.instruction) or parser.mentions(case.answer)}
    with closing(engine):
        attempts, replies = ask_judge(engine, asked, contested, judge, journal)
    records = [judge_score(stage.name, attempt) for attempt in attempts]
    states = Counter(record.state for record in records)
    _require_scores(stage, records, states, journal.path)
    lines = ({**case.fields, **asdict(record)} for case, record in zip(cases, records, strict=True))
    write_jsonl(scores, lines, private=True)
    figures = {"states": dict(sorted(states.items()))} | generation_figures(engine, journal, replies)
    write_json(metrics, figures | stage_record(started, stage.code, judge.generation.seed, journal.continued_seconds))
    journal.remove()


def prompts_of(stage: Judging, cases: Sequence[Case]) -> list[Prompt]:
    """What the judge is asked: its filled template, or the conversation for its own chat template."""
    if stage.template is None:
        return [Prompt(case.id, case.instruction, assistant=case.answer) for case in cases]
    template = Path(stage.template).read_text(encoding="utf-8")
    return [Prompt(case.id, fill(template, case.instruction, case.answer)) for case in cases]


def ask_judge(
    engine: Engine, prompts: Sequence[Prompt], contested: Collection[str], judge: JudgeSettings, journal: Journal
) -> tuple[list[Attempt], list[Reply]]:
    """Ask the judge, again as configured where it gave no score; return the last try per prompt, and all replies.

    `contested` are the ids of the prompts whose judged text states a score itself. A try leaves out prompts after which
    the judge's context has no room for its reply. Raises FormsafeError where that is every prompt at the first try.
    """
    room = {prompt.id: engine.room(prompt) for prompt in prompts}
    if room and max(room.values()) < judge.generation.max_new_tokens:
        require_room(engine, prompts, judge.generation)
    parser = make_parser(judge)
    latest: dict[str, Attempt] = {}
    everything: list[Reply] = []
    for number, decoding in enumerate([judge.generation, *judge.retries], start=1):
        settled = {name for name, attempt in latest.items() if not attempt.another_may_help(decoding)}
        open_ones = [prompt for prompt in prompts if prompt.id not in settled]
        left = [prompt for prompt in open_ones if room[prompt.id] >= decoding.max_new_tokens]
        if len(left) < len(open_ones):
            print(f"Try {number} leaves out {len(open_ones) - len(left)} prompts: no room in the context for a reply.")
        if not left:
            continue
        replies = ask(engine, left, decoding, journal, f"try {number}")
        everything += replies
        for prompt, reply in zip(left, replies, strict=True):
            before = latest[prompt.id].number if prompt.id in latest else 0
            score = read_score(reply, prompt.id in contested, parser)
            latest[prompt.id] = Attempt(before + 1, decoding, reply, score)
    unasked = Attempt(0, judge.generation, Reply("", 0, "no_room"), None)
    return [latest.get(prompt.id, unasked) for prompt in prompts], everything


def read_score(reply: Reply, contested: bool, parser: Parser) -> Score | None:
    """The score that the judge gave.

    A judged answer that states a score itself (`contested`) may have been repeated by the judge: then only a score on
    the last line of a complete reply counts.
    """
    cut_off = reply.finish_reason != "stop"  # by the limit, or by a filter
    if contested and cut_off:
        return None
    return parser.read(reply.text, cut_off=cut_off, last_line_only=contested)


def judge_score(judge: str, attempt: Attempt) -> JudgeScore:
    """The record of an answer from the judge's last reply."""
    reply, score = attempt.reply, attempt.score
    thoughts = "\n".join(filter(None, [reply.thoughts, split_thoughts(reply.text)[1]]))
    number = None if score is None else score.value
    value = int(number) if number is not None and number == int(number) else number
    said = (judge, value, score and score.label, _state(attempt), attempt.number, reply.text, thoughts)
    chances = None
    if score is not None and score.at is not None:
        chances = next((found for end, found in reply.digits if end == score.at + 1), None)
    if not chances or not any(chances):
        return JudgeScore(*said, reply.finish_reason)
    expected = sum(digit * chance for digit, chance in enumerate(chances, start=1)) / sum(chances)
    return JudgeScore(*said, reply.finish_reason, [round(chance, 6) for chance in chances], round(expected, 6))


def _state(attempt: Attempt) -> State:
    reply = attempt.reply
    if attempt.score is not None:
        return "parsed" if attempt.number == 1 else "parsed_on_retry"
    # a reply that was cut had begun to judge, though it may have quoted a refusal
    if reply.finish_reason == "refused" or (reply.finish_reason == "stop" and is_refusal(reply.text)):
        return "judge_refused"
    return "no_room" if reply.finish_reason == "no_room" else "unparsed"


def _require_scores(stage: Judging, records: Sequence[JudgeScore], states: Counter[State], journal: Path) -> None:
    """Raise FormsafeError where the judge left too many answers without a score: its figures would mean nothing."""
    unscored = sum(record.score is None for record in records)
    if unscored > stage.judge.max_unscored * len(records):
        said = ", ".join(f"{state} {count}" for state, count in sorted(states.items()))
        raise FormsafeError(
            f"The judge {stage.name} gave no score to {unscored} of {len(records)} answers ({said}). Compare its "
            f"replies in {journal} with what its parser ({stage.judge.parser}) reads: the template must ask for that. "
            f"After a change of judges.{stage.name}.max_unscored (now {stage.judge.max_unscored:g}) alone, no reply is "
            "asked for again."
        )
