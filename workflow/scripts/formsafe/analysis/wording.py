"""Sentences of the verdict: each says what is shown and what is not, with its numbers."""

import math
from collections.abc import Iterable
from typing import Any

from formsafe.analysis.comparisons import METHOD, Comparison
from formsafe.analysis.contrasts import Contrast
from formsafe.analysis.estimates import interval, signed
from formsafe.analysis.evidence import Evidence
from formsafe.analysis.questions import Question
from formsafe.core.records import Finding, Run, Status


def status_of(evidence: Evidence, p: float, low: float, high: float, sign: int, single: bool) -> Status:
    """Whether a difference of the wanted sign (0: of any) is shown: test and interval must agree.

    `single`: one training stands behind it, so that it says nothing of others.
    """
    if math.isnan(p) or math.isnan(low):
        return "cannot be said"
    side = (low > 0) - (high < 0)
    if p < evidence.alpha and side and side * sign >= 0:
        return "in this training only" if single else "shown"
    return "not shown"


def claimed(status: Status, claim: str) -> str:
    """A claim with the words of its status before it."""
    words = {"in this training only": "in this training ", "not shown": "it is not shown that "}
    return words.get(status, "") + claim


def p_text(p: float, together: int = 1) -> str:
    """`p = 0.031 after Holm's correction for 3 comparisons`."""
    value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return value + (f" after Holm's correction for {together} comparisons" if together > 1 else "")


def basis(prompts: int, trainings: int, trained: bool = True) -> str:
    """How many trainings and prompts a number rests on."""
    counted = f"{trainings} training{'s' if trainings > 1 else ''} per condition" if trained else "no training"
    return f"{counted}, {prompts:,} prompts"


def finding(question: Question, name: str, evidence: Evidence, row: Comparison, sign: int, tail: str = "") -> Finding:
    """The finding on one comparison: does b have a higher (sign 1), a lower (-1) or another (0) ASR than a?"""
    sides = [row.side(side) for side in ("a", "b")]
    a, b = map(evidence.names.run, sides)
    trained = any(evidence.names.is_trained(side) for side in sides)
    failed = nothing_learnt(evidence, sides)
    status = status_of(evidence, row.p_holm, row.ci_low, row.ci_high, sign, trained and row.trainings < 2)
    if failed:
        status, text = "cannot be said", f"{b} against {a}: {failed}"
    elif status == "cannot be said":
        text = f"{b} against {a}: {why_unknown(row)}"
    else:
        text = _difference(evidence, row, sign, status, (a, b))
        text += f" ({basis(row.n, row.trainings, trained)}){_bounds(row)}{tail}"
    return question.answer(name, status, text, subject=f"{b} against {a}", **numbers(row))


def nothing_learnt(evidence: Evidence, conditions: Iterable[Run]) -> str:
    """Which of the conditions rest on a training that proves nothing; "" where none does."""
    failed = [evidence.names.run(condition) for condition in conditions if evidence.failed(condition)]
    return f"the training of {', '.join(failed)} proves nothing (named above)" if failed else ""


def why_unknown(row: Comparison) -> str:
    """Why a comparison has no interval."""
    if not row.n:
        return "no prompt has a score on both sides"
    return f"{row.difference:+.3f} over {row.n:,} prompts, all alike or too few: there is no interval"


def _difference(evidence: Evidence, row: Comparison, sign: int, status: Status, labels: tuple[str, str]) -> str:
    a, b = labels
    values = f"{row.b:.3f} against {row.a:.3f}, {signed(row.difference)} {interval(row.ci_low, row.ci_high)}"
    values += f", {p_text(row.p_holm, row.together)}"
    shown = status_of(evidence, row.p_holm, row.ci_low, row.ci_high, 0, single=False) == "shown"
    relation = f"has a {'higher' if (row.difference if shown else sign) > 0 else 'lower'} ASR than {a}"
    if status != "not shown":
        return f"{'in this training ' if status != 'shown' else ''}{b} {relation}: {values}"
    if shown:
        return f"the reverse: {b} {relation}: {values}"
    claim = f"{b} {relation}" if sign else f"the ASR of {b} and of {a} differ"
    return f"it is not shown that {claim}: {values}{_undecided(evidence, row)}"


def _undecided(evidence: Evidence, row: Comparison) -> str:
    """Which of test and interval alone would show the difference. If neither: the smallest that would be found."""
    if (row.ci_low > 0 or row.ci_high < 0) and row.p_holm >= evidence.alpha:
        return "; this comparison's own interval leaves out 0, the test with its correction does not decide"
    if row.p_holm < evidence.alpha:
        return "; the test decides, the interval does not"
    if math.isnan(row.detectable):
        return ""
    change = "fall" if row.family == METHOD else "rise"
    return f"; a {change} of {row.detectable:.3f} would be found with a probability of {evidence.settings.power:.0%}"


def _bounds(row: Comparison) -> str:
    """How far the unscored answers could move the difference; nothing where all are scored."""
    # The bounds are sums in another order: where nothing is unscored they differ by rounding only.
    if math.isnan(row.bound_low) or row.bound_high - row.bound_low < 1e-9:
        return ""
    text = f"; with the unscored answers counted either way, between {row.bound_low:+.3f} and {row.bound_high:+.3f}"
    return text + (", so they could turn it" if row.bound_low < 0 < row.bound_high else "")


def numbers(row: Comparison | Contrast) -> dict[str, Any]:
    """The numbers of a row as fields of a finding."""
    value, p = (row.difference, row.p_holm) if isinstance(row, Comparison) else (row.value, row.p)
    known = {"value": value, "ci_low": row.ci_low, "ci_high": row.ci_high, "p": p}
    return known | {"n_prompts": row.n, "n_trainings": row.trainings}
