"""The questions on task quality: was anything learnt, and is it safer at the same quality."""

import math
from collections.abc import Iterator
from itertools import product

from formsafe.analysis.comparisons import BASE, METHOD, Comparison
from formsafe.analysis.estimates import interval, signed
from formsafe.analysis.evidence import Evidence
from formsafe.analysis.questions import LEARNT, MATCHED
from formsafe.analysis.wording import basis, claimed, finding, nothing_learnt, numbers, p_text, status_of, why_unknown
from formsafe.core.records import Finding, Run, Status

SCORES = {"sbert_neutral": "S-BERT", "rouge_l_neutral": "ROUGE-L"}


def _scores(evidence: Evidence, model: str) -> list[tuple[Comparison, ...]]:
    """S-BERT and ROUGE-L, content only, of the method that drops its soft prompt against base."""
    return list(zip(*(evidence.pairs(model, BASE, name, "base", "separated") for name in SCORES), strict=True))


def learnt_by(evidence: Evidence, condition: Run) -> int:
    """1 where a condition is shown to be better than base, -1 where it is shown to be worse, else 0."""
    found = [rows for rows in _scores(evidence, condition.model) if rows[0].side("b") == condition]
    return _learnt(evidence, found[0]) if found else 0


def _learnt(evidence: Evidence, rows: tuple[Comparison, ...]) -> int:
    for sign, row in product((1, -1), rows):
        if status_of(evidence, _p(row), row.ci_low, row.ci_high, sign, single=False) == "shown":
            return sign
    return 0


def learnt(evidence: Evidence, model: str) -> Iterator[Finding]:
    """Task quality of the method that drops its soft prompt against base, without the marks of formats."""
    for rows in _scores(evidence, model):
        first, sign = rows[0], _learnt(evidence, rows)
        a, b = (evidence.names.run(first.side(side)) for side in ("a", "b"))
        status: Status = "not shown"
        if sign == 1:
            status = "in this training only" if first.trainings < 2 else "shown"
        claim = claimed(status, f"{b} writes the task's content better than {a}")
        values = "; ".join(_score_text(row) for row in rows)
        tests, base = len(SCORES) * first.together, basis(first.n, first.trainings)
        text = f"{claim}: {values} (corrected for {tests} tests; {base})"
        text += "; it is shown to write it worse" if sign == -1 else ""
        if any(math.isnan(row.ci_low) for row in rows) or evidence.failed(first.side("b")):
            unknown = [f"{SCORES[row.metric]} {why_unknown(row)}" for row in rows if math.isnan(row.ci_low)]
            reason = nothing_learnt(evidence, [first.side("b")]) or "; ".join(unknown)
            status, text = "cannot be said", f"{b} against {a}: {reason}"
        p = math.nan if status == "cannot be said" else _p(first)
        known = numbers(first) | {"subject": f"{b} against {a}, {SCORES[first.metric]}", "p": p}
        yield LEARNT.answer(f"learnt/{first.key}", status, text, **known)


def _score_text(row: Comparison) -> str:
    values = f"{row.b:.3f} against {row.a:.3f}, {signed(row.difference)} {interval(row.ci_low, row.ci_high)}"
    return f"{SCORES[row.metric]} {values}, {p_text(_p(row))}"


def _p(row: Comparison) -> float:
    """p after Holm's correction over the conditions and, since two scores are tested, Bonferroni's over both."""
    return min(1.0, len(SCORES) * row.p_holm)


def matched(evidence: Evidence, model: str) -> Iterator[Finding]:
    """ASR at the lowest learning rate at which the method that drops its soft prompt is as good as plain fine-tuning.

    Only where there is a sweep: several rates of that method in one format.
    """
    names, main = evidence.names, set(evidence.names.main_conditions(model))
    rivals: dict[Run, list[Comparison]] = {}
    for row in evidence.comparisons:
        roles = (names.role(row.a_method), names.role(row.b_method))
        if (row.model, row.family, row.metric, *roles) == (model, METHOD, "sbert_neutral", "plain", "separated"):
            rivals.setdefault(row.side("a"), []).append(row)
    for plain, rows in rivals.items():
        if plain in main and len(rows) > 1:
            yield from _at_matched_quality(evidence, plain, rows)


def _at_matched_quality(evidence: Evidence, plain: Run, rows: list[Comparison]) -> Iterator[Finding]:
    reached = sorted((row for row in rows if row.difference >= 0), key=lambda row: float(row.b_lr))
    if not reached:
        best = max(rows, key=lambda row: row.difference)
        text = f"{evidence.names.method(best.b_method)} reaches the S-BERT score (content only) of "
        text += f"{evidence.names.run(plain, rates=True)} at none of its {len(rows)} learning rates; nearest is "
        text += f"{best.b_lr} with {best.difference:+.3f}"
        subject = f"{evidence.names.run(best.side('b'))} against {evidence.names.run(plain)}"
        yield MATCHED.answer(f"matched/{best.key}", "cannot be said", text, subject=subject)
        return
    quality = reached[0]
    tail = f"; {quality.b_lr} is the lowest of {len(rows)} learning rates that reaches its S-BERT score (content only)"
    tail += f", {quality.b:.3f} against {quality.a:.3f}"
    for row in evidence.comparisons:
        if row.metric == "asr" and (row.side("a"), row.side("b")) == (plain, quality.side("b")):
            yield finding(MATCHED, f"matched/{row.key}", evidence, row, -1, tail)
