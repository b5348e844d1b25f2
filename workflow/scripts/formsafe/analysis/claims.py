"""The questions on safety: is it lost, does the format matter, does the soft prompt help, is it kept."""

import math
from collections.abc import Iterator

from formsafe.analysis.comparisons import BASE, FORMAT, METHOD, Comparison
from formsafe.analysis.contrasts import INTERACTION, OMNIBUS, TREND, Contrast
from formsafe.analysis.estimates import interval, signed
from formsafe.analysis.evidence import Evidence
from formsafe.analysis.quality import learnt_by
from formsafe.analysis.questions import CONTROLS, FORMATS, KEPT, LESS, LOWERED, RAISED, Question
from formsafe.analysis.wording import basis, claimed, finding, nothing_learnt, numbers, p_text, status_of, why_unknown
from formsafe.core.records import NONE, Finding, Status, joined


def raised(evidence: Evidence, model: str) -> Iterator[Finding]:
    """Plain fine-tuning against base."""
    for row in evidence.pairs(model, BASE, "asr", "base", "plain"):
        yield finding(RAISED, f"raised/{row.key}", evidence, row, 1)


def formats(evidence: Evidence, model: str) -> Iterator[Finding]:
    """Plain fine-tuning: the omnibus test, the trend over formality, then the pairs."""
    for question in (OMNIBUS, TREND):
        yield from _contrasts(evidence, model, question, FORMATS)
    for row in evidence.pairs(model, FORMAT, "asr", "plain", "plain"):
        yield finding(FORMATS, f"format/{row.key}", evidence, row, 0)


def less(evidence: Evidence, model: str) -> Iterator[Finding]:
    """The slope over formality with the soft prompt against the one without."""
    yield from _contrasts(evidence, model, INTERACTION, LESS)


def _contrasts(evidence: Evidence, model: str, question: str, asked: Question) -> Iterator[Finding]:
    role, names = "separated" if question == INTERACTION else "plain", evidence.names
    main = names.main_conditions(model)
    for row in evidence.contrasts:
        alike = [run for run in main if run.examples == row.examples and run.format in row.formats.split()]
        members = [run for run in alike if (run.method, run.lr) == (row.method, row.lr)]
        if (row.model, row.question, names.role(row.method)) != (model, question, role) or not members:
            continue
        # The omnibus test has no interval: its p decides alone.
        low, high = (row.value, row.value) if question == OMNIBUS else (row.ci_low, row.ci_high)
        status = status_of(evidence, row.p, low, high, -1 if question == INTERACTION else 0, row.trainings < 2)
        rivals = [run for run in alike if (run.method, run.lr) == (row.against, row.against_lr)]
        failed = nothing_learnt(evidence, members + rivals)
        status = "cannot be said" if failed else status
        name, text = joined((row.method, row.lr, row.examples)), _contrast_text(evidence, row, status, failed)
        yield asked.answer(f"{question}/{name}", status, text, subject=_subject(evidence, row), **numbers(row))


def _dose(row: Contrast) -> list[str]:
    return [row.lr, *([] if row.examples == NONE else [f"{row.examples} examples"])]


def _subject(evidence: Evidence, row: Contrast) -> str:
    label = " ".join([evidence.names.method(row.method), *_dose(row)])
    return {
        OMNIBUS: f"{label}: range over its formats",
        TREND: f"{label}: from the least to the most formal",
        INTERACTION: f"{label} minus {evidence.names.method(row.against)}: from the least to the most formal",
    }[row.question]


def _contrast_text(evidence: Evidence, row: Contrast, status: Status, failed: str) -> str:
    names = evidence.names
    label = f"{names.method(row.method)} ({', '.join(_dose(row))})"
    listed = [names.format(name) for name in row.formats.split()]
    claim = {
        OMNIBUS: f"the formats of {label} differ in ASR ({', '.join(listed)})",
        TREND: f"the ASR of {label} changes with the formality of the format ({' < '.join(listed)})",
        INTERACTION: f"the ASR of {label} rises less with formality than that of {names.method(row.against)}",
    }[row.question]
    if status == "cannot be said":
        return f"cannot be said whether {claim}: {failed or 'the answers are unscored or all scored alike'}"
    values = f"a range of {row.value:.3f}"
    if row.question != OMNIBUS:
        unit = "from the least to the most formal" + (", one minus the other" if row.question == INTERACTION else "")
        values = f"{signed(row.value)} {interval(row.ci_low, row.ci_high)} {unit}"
    test = "" if row.test == "none" else f", {row.test}"
    return f"{claimed(status, claim)}: {values}, {p_text(row.p)}{test} ({basis(row.n, row.trainings)})"


def lowered(evidence: Evidence, model: str) -> Iterator[Finding]:
    """The method that drops its soft prompt against plain fine-tuning, and the share of the rise that it prevents."""
    for row in evidence.pairs(model, METHOD, "asr", "plain", "separated"):
        yield finding(LOWERED, f"lowered/{row.key}", evidence, row, -1, _prevented(evidence, row))


def _prevented(evidence: Evidence, row: Comparison) -> str:
    """The share of plain fine-tuning's rise over base that is missing, and whether anything was learnt at all."""
    plain, separated = row.side("a"), row.side("b")
    rises = [base for base in evidence.pairs(row.model, BASE, "asr", "base", "plain") if base.side("b") == plain]
    if not rises or not rises[0].difference > 0:
        return ""
    text = f"; {-row.difference / rises[0].difference:.0%} of the rise over the base model is prevented"
    if learnt_by(evidence, separated) != 1:
        text += ", but it is not shown that anything was learnt, so this alone proves no protection"
    return text


def kept(evidence: Evidence, model: str) -> Iterator[Finding]:
    """Non-inferiority: the one-sided upper bound of the rise over base lies below the margin."""
    margin, level = evidence.settings.margin, f"{evidence.settings.confidence:.0%}"
    for row in evidence.pairs(model, BASE, "asr", "base", "separated"):
        a, b = (evidence.names.run(row.side(side)) for side in ("a", "b"))
        status: Status = "not shown"
        if row.upper < margin:
            status = "in this training only" if row.trainings < 2 else "shown"
        claim = claimed(status, f"{b} keeps the safety of {a} within a margin of {margin:.3f}")
        text = f"{claim}: {row.b:.3f} against {row.a:.3f}, a rise of at most {row.upper:+.3f} (one-sided, {level}; "
        text += f"{basis(row.n, row.trainings)}); it holds for every margin above {max(row.upper, 0):.3f}"
        if evidence.failed(row.side("b")) or math.isnan(row.upper):
            failed = nothing_learnt(evidence, [row.side("b")])
            status, text = "cannot be said", f"{b} against {a}: {failed or why_unknown(row)}"
        yield KEPT.answer(f"kept/{row.key}", status, text, subject=f"{b} against {a}", **numbers(row))


def controls(evidence: Evidence, model: str) -> Iterator[Finding]:
    """Methods that differ in anything else: against base and against the other methods."""
    for row in evidence.comparisons:
        roles = [evidence.names.role(method) for method in (row.a_method, row.b_method)]
        if row.model == model and row.metric == "asr" and row.family != FORMAT and "control" in roles:
            yield finding(CONTROLS, f"controls/{row.key}", evidence, row, 0)
