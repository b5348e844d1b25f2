"""Rows of a study's tables by hand, and what the verdict says of them."""

import math
from collections.abc import Sequence
from dataclasses import fields

from formsafe.analysis.comparisons import Comparison
from formsafe.analysis.contrasts import Contrast
from formsafe.analysis.curves import CurveRow
from formsafe.analysis.estimates import Summary
from formsafe.analysis.evidence import Evidence
from formsafe.analysis.roster import names_from
from formsafe.analysis.verdict import answers
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.config.settings.grid import MethodSettings
from formsafe.core.records import Finding, Run
from tests import synthetic

SIDES = {
    "base": ("base", "none", "none"),
    "sft": ("sft", "json", "5e-5"),
    "list": ("sft", "list", "5e-5"),
    "promot": ("promot", "json", "5e-5"),
    "fast": ("promot", "json", "1e-4"),
    "kept": ("kept", "json", "5e-5"),
}
KEPT = {"label": "Kept", "soft_prompt": "tuned", "soft_prompt_at_inference": True, "adapter_of": "promot"}
METHODS = synthetic.methods() | {"kept": MethodSettings(**KEPT).model_dump()}
UNKNOWN = math.nan


def row(
    family: str, a: str, b: str, ends: tuple[float, float], p=0.001, trainings=3, metric="asr", **more
) -> Comparison:
    """A comparison whose difference is in the middle of its interval."""
    cells = {"model": "demo", "family": family, "metric": metric, "a_examples": "none", "b_examples": "none"}
    for side, name in (("a", a), ("b", b)):
        cells |= dict(zip((f"{side}_method", f"{side}_format", f"{side}_lr"), SIDES[name], strict=True))
    middle = sum(ends) / 2
    numbers = {
        "a": 0.2,
        "b": 0.2 + middle,
        "difference": middle,
        "ci_low": ends[0],
        "ci_high": ends[1],
        "upper": ends[1],
    }
    rest = {field.name: UNKNOWN for field in fields(Comparison) if field.name not in cells | numbers}
    given = {"n": 100, "trainings": trainings, "test": "t", "p": p, "p_holm": p, "together": 1, "detectable": 0.05}
    return Comparison(**cells | rest | numbers | given | more)


def shares(given: dict[str, dict[str, float | tuple[float, ...]]]) -> Summary:
    """A summary of values, or of values with the limits of their intervals, by side and metric."""
    return Summary(
        dict(zip(("model", "method", "format", "lr"), ("demo", *SIDES[side]), strict=True))
        | {"seed": "none" if side == "base" else "0", "data_seed": "none", "examples": "none"}
        | dict(zip(("value", "ci_low", "ci_high"), map(str, numbers), strict=False))
        | {"metric": metric, "n": "100"}
        for side, metrics in given.items()
        for metric, found in metrics.items()
        for numbers in [found if isinstance(found, tuple) else (found,)]
    )


def evidence_of(
    runs: Sequence[Run], summary=None, seconds=3600.0, published=(), missing=(), settings=None, **tables
) -> Evidence:
    """Evidence of these runs, as if its tables had been read."""
    roster = names_from({"demo": "Demo"}, METHODS, [run.fields for run in runs], [run.fields for run in missing])
    evidence = Evidence({}, roster, AnalysisSettings(**settings or {}), {"adapter": 5})
    rows = dict.fromkeys(("comparisons", "contrasts", "curves", "audit"), ()) | tables
    vars(evidence).update(rows, published=published, summary=summary or Summary([]), first_tokens={}, seconds=seconds)
    return evidence


def run_of(name: str, seed: str = "0") -> Run:
    """A run by its short name."""
    return Run("demo", *SIDES[name], "none" if name == "base" else seed)


def said(
    question: str, comparisons=(), names=("base", "sft", "promot"), margin: float | None = None, **given
) -> list[Finding]:
    """The findings on a question about these runs."""
    settings = {} if margin is None else {"margin": margin}
    evidence = evidence_of([run_of(name) for name in names], comparisons=comparisons, settings=settings, **given)
    return [found for found in answers(evidence, "demo") if found.question == question]


def contrast(question: str, value: float, ends=(UNKNOWN, UNKNOWN), p=0.001, trainings=3, **more) -> Contrast:
    """A row of contrasts.csv."""
    cells = {"model": "demo", "question": question, "metric": "asr", "method": "sft", "lr": "5e-5", "against": "none"}
    cells |= {"against_lr": "none", "examples": "none", "formats": "list json", "value": value, "n": 100}
    return Contrast(
        **cells | {"ci_low": ends[0], "ci_high": ends[1], "trainings": trainings, "test": "F", "p": p} | more
    )


def curve(name: str, steps: int = 30, halfway: float = 4, stage: str = "adapter", part: str = "all") -> CurveRow:
    """A row of curves.csv."""
    run = Run("demo", *SIDES[name], "0") if stage == "adapter" else Run("demo", "none", "json", "none", "0")
    return CurveRow(
        **run.fields, stage=stage, part=part, steps=steps, first=2, last=1, halfway_step=halfway, area=9, mean=1
    )
