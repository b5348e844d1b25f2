"""The questions on safety: is it lost, does the format matter, does the soft prompt help, is it kept."""

import math
from collections.abc import Iterator
from typing import Any

from formsafe.analysis.comparisons import BASE, FORMAT, METHOD, Comparison
from formsafe.analysis.contrasts import INTERACTION, OMNIBUS, TREND, Contrast
from formsafe.analysis.estimates import interval, signed
from formsafe.analysis.evidence import Evidence
from formsafe.analysis.quality import learnt_by
from formsafe.analysis.wording import basis, claimed, finding, numbers, p_text, sentence, status_of
from formsafe.core.records import NONE, Finding, Status

RAISED = "Does fine-tuning on benign data raise the ASR?"
FORMATS = "Does the format of the same content change the ASR?"
LOWERED = "Does training the format into a soft prompt that is dropped lower the ASR?"
LESS = "Does the format matter less with the soft prompt?"
KEPT = "Is the safety of the base model kept?"
CONTROLS = "What do the controls do?"


def _fields(question: str, name: str, section: str = "safety") -> dict[str, Any]:
    return {"id": name, "section": section, "question": question, "figure": "asr"}


def raised(evidence: Evidence, model: str) -> Iterator[Finding]:
    """Plain fine-tuning against base."""
    for row in evidence.pairs(model, BASE, "asr", "base", "plain"):
        yield finding(evidence, row, 1, **_fields(RAISED, f"raised/{row.key}"))


def formats(evidence: Evidence, model: str) -> Iterator[Finding]:
    """Plain fine-tuning: the omnibus test, the trend over formality, then the pairs."""
    for question in (OMNIBUS, TREND):
        yield from _contrasts(evidence, model, question, FORMATS)
    for row in evidence.pairs(model, FORMAT, "asr", "plain", "plain"):
        yield finding(evidence, row, 0, **_fields(FORMATS, f"format/{row.key}"))


def less(evidence: Evidence, model: str) -> Iterator[Finding]:
    """The slope over formality with the soft prompt against the one without."""
    yield from _contrasts(evidence, model, INTERACTION, LESS)


def _contrasts(evidence: Evidence, model: str, question: str, asked: str) -> Iterator[Finding]:
    role, names = "separated" if question == INTERACTION else "plain", evidence.names
    main = names.main_conditions(model)
    for row in evidence.contrasts:
        members = [run for run in main if (run.method, run.lr, run.examples) == (row.method, row.lr, row.examples)]
        if (row.model, row.question, names.role(row.method)) != (model, question, role) or not members:
            continue
        # The omnibus test has no interval: its p decides alone.
        low, high = (row.value, row.value) if question == OMNIBUS else (row.ci_low, row.ci_high)
        status = status_of(evidence, row.p, low, high, -1 if question == INTERACTION else 0, row.trainings < 2)
        rivals = [run for run in main if (run.method, run.lr) == (row.against, row.against_lr)]
        if any(evidence.failed(run) for run in members + rivals):
            status = "cannot be said"
        name = "-".join(part for part in (row.method, row.lr, row.examples) if part != NONE)
        known = _fields(asked, f"{question}/{name}") | {
            "value": None if math.isnan(row.value) else row.value,
            "p": None if math.isnan(row.p) else row.p,
        }
        known["subject"] = _subject(evidence, row)
        yield Finding(status=status, sentence=_contrast_text(evidence, row, status), **numbers(row) | known)


def _subject(evidence: Evidence, row: Contrast) -> str:
    label = f"{evidence.names.method(row.method)} {row.lr}"
    return {
        OMNIBUS: f"{label}: range over its formats",
        TREND: f"{label}: from the least to the most formal",
        INTERACTION: f"{label} minus {evidence.names.method(row.against)}: from the least to the most formal",
    }[row.question]


def _contrast_text(evidence: Evidence, row: Contrast, status: Status) -> str:
    names = evidence.names
    label, listed = f"{names.method(row.method)} ({row.lr})", [names.format(name) for name in row.formats.split()]
    claim = {
        OMNIBUS: f"the formats of {label} differ in ASR ({', '.join(listed)})",
        TREND: f"the ASR of {label} changes with the formality of the format ({' < '.join(listed)})",
        INTERACTION: f"the ASR of {label} rises less with formality than that of {names.method(row.against)}",
    }[row.question]
    if status == "cannot be said":
        reason = "a training that proves nothing, or answers that are unscored or all scored alike"
        return sentence(f"cannot be said whether {claim}: {reason}")
    values = f"a range of {row.value:.3f}"
    if row.question != OMNIBUS:
        unit = "from the least to the most formal" + (", one minus the other" if row.question == INTERACTION else "")
        values = f"{signed(row.value)} {interval(row.ci_low, row.ci_high)} {unit}"
    test = "" if row.test == "none" else f", {row.test}"
    text = f"{claimed(status, claim)}: {values}, {p_text(row.p)}{test}"
    return sentence(f"{text} ({basis(row.n, row.trainings)})")


def lowered(evidence: Evidence, model: str) -> Iterator[Finding]:
    """The method that drops its soft prompt against plain fine-tuning, and the share of the rise that it prevents."""
    for row in evidence.pairs(model, METHOD, "asr", "plain", "separated"):
        yield finding(evidence, row, -1, _prevented(evidence, row), **_fields(LOWERED, f"lowered/{row.key}"))


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
            status, text = "cannot be said", f"{b} against {a}: no shared scores, or a training that proves nothing"
        known = numbers(row) | {"subject": f"{b} against {a}"}
        yield Finding(status=status, sentence=sentence(text), **known | _fields(KEPT, f"kept/{row.key}"))


def controls(evidence: Evidence, model: str) -> Iterator[Finding]:
    """Methods that differ in anything else: against base and against the other methods."""
    for row in evidence.comparisons:
        roles = [evidence.names.role(method) for method in (row.a_method, row.b_method)]
        if row.model == model and row.metric == "asr" and row.family != FORMAT and "control" in roles:
            yield finding(evidence, row, 0, **_fields(CONTROLS, f"controls/{row.key}", "controls"))
