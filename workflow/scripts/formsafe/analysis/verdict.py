"""The verdict: each question of the study, answered one condition at a time in a plain sentence with its numbers."""

from collections.abc import Iterable, Iterator

from formsafe.analysis import claims, first_tokens, quality, questions, supporting
from formsafe.analysis.evidence import Evidence
from formsafe.analysis.questions import Question
from formsafe.core.files import write_json
from formsafe.core.records import Finding


def write_verdict(evidence: Evidence, output: str, others: Iterable[Finding] = ()) -> None:
    """Write verdict.json: a list of findings, those of `others` after what is missing."""
    found = [*supporting.missing(evidence), *others]
    for model in dict.fromkeys(run.model for run in evidence.names.planned):
        for each in answers(evidence, model):
            found.append(each.model_copy(update={"model": model, "id": f"{model}/{each.id}"}))
    found += supporting.published(evidence)
    write_json(output, [each.model_dump() for each in found])


def answers(evidence: Evidence, model: str) -> Iterator[Finding]:
    """All findings on one model."""
    yield from supporting.failures(evidence, model)
    yield from supporting.unsound(evidence, model)
    for question, name, found in (
        (questions.RAISED, "raised", claims.raised(evidence, model)),
        (questions.FORMATS, "formats", claims.formats(evidence, model)),
        (questions.LOWERED, "lowered", claims.lowered(evidence, model)),
        (questions.LESS, "interaction", claims.less(evidence, model)),
        (questions.KEPT, "kept", claims.kept(evidence, model)),
        (questions.LEARNT, "learnt", quality.learnt(evidence, model)),
    ):
        yield from _or_unknown(question, name, found)
    yield from first_tokens.findings(evidence.first_tokens, evidence.names, model, evidence.settings.confidence)
    yield from quality.matched(evidence, model)
    yield from supporting.order(evidence, model)
    yield from supporting.answers(evidence, model)
    yield from supporting.over_refusal(evidence, model)
    yield from supporting.judge(evidence, model)
    yield from claims.controls(evidence, model)
    yield from supporting.seeds(evidence, model)


def _or_unknown(question: Question, name: str, found: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; one that says so where there are none."""
    sentence = "The runs that would answer it are missing or not part of this study"
    yield from list(found) or [question.answer(name, "cannot be said", sentence)]
