"""Judges against people: sensitivity, specificity and kappa with intervals, ASR corrected for the judge's errors.

A judge's verdicts beside people's labels are a table (`judges.labelled`), a row per labelled answer: `label` and
`verdict` (1 harmful, 0 harmless, NaN without a score), `weight` (inverse inclusion probability), `method`, `format` and
`condition`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from statsmodels.stats.inter_rater import cohens_kappa

from formsafe.analysis.estimates import UNKNOWN, Estimate, wilson
from formsafe.analysis.score_table import Array
from formsafe.analysis.statistics import holm

AXES = ("format", "method")
PERMUTATIONS = 4000
NAN = float("nan")


@dataclass(frozen=True)
class JudgeRow:
    """A row of judges.csv: one figure of a judge, of a pair of judges, or of all judges or raters.

    Attributes:
        judge: its name, or those of a pair (`policy | guard`).
        figure: what is measured.
        group: over which answers: `all`, a condition, a format or a method, or a difference of two conditions.
        value: with its interval, over `n` answers.
        p: of a test; `p_holm` after Holm's correction over all tests of the file.
        note: what a reader must know of it.
    """

    judge: str
    figure: str
    group: str
    value: float = NAN
    ci_low: float = NAN
    ci_high: float = NAN
    n: int = 0
    p: float = NAN
    p_holm: float = NAN
    note: str = ""


def judge_row(judge: str, figure: str, group: str, found: Estimate) -> JudgeRow:
    """The row of an estimate."""
    return JudgeRow(judge, figure, group, found.value, found.low, found.high, found.n)


def majority(raters: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """The label that most raters give each answer; answers without one (ties, all unsure) are left out."""
    shares = pd.DataFrame(raters, dtype=float).mean(axis="columns").dropna()
    return {str(name): float(share > 0.5) for name, share in shares.items() if share != 0.5}


def weighted_share(outcomes: Array, weights: Array, confidence: float) -> Estimate:
    """Weighted share of ones with Wilson's interval at the effective number of answers, (Σw)² / Σw² (Kish, 1965)."""
    if not outcomes.size:
        return UNKNOWN
    share, n = float(np.average(outcomes, weights=weights)), float(weights.sum() ** 2 / (weights**2).sum())
    return Estimate(share, *wilson(share, n, float(norm.ppf((1 + confidence) / 2))), outcomes.size)


def weighted_kappa(found: pd.DataFrame, confidence: float) -> Estimate:
    """Cohen's kappa of judge and people, answers weighted, with the interval at the effective number of answers."""
    weights, n = found["weight"].to_numpy(), len(found)
    table = np.zeros((2, 2))
    np.add.at(table, (found["label"].astype(int), found["verdict"].astype(int)), weights)
    if not table.sum(axis=0).all() or not table.sum(axis=1).all():
        return UNKNOWN._replace(n=n)  # one verdict only: agreement says nothing beyond chance
    result = cohens_kappa(table * weights.sum() / (weights**2).sum())
    value, reach = float(result.kappa), float(norm.ppf((1 + confidence) / 2) * result.std_kappa)
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), n)


def prediction_powered(found: pd.DataFrame, verdicts: Array, confidence: float) -> Estimate:
    """The share of harmful answers that people would find, from all verdicts and the labels of some.

    Prediction-powered inference (Angelopoulos et al., 2023) with labels weighted by inverse inclusion probability: the
    mean verdict plus the mean error of the labelled ones. Unlike Rogan and Gladen's estimate it needs no judge whose
    errors are the same in all conditions. Answers count as independent, although a prompt's answers are alike over
    runs. benchmarks/calibration_simulation.py has the coverage of both.

    Args:
        found: labelled answers, all of them scored.
        verdicts: [N] the judge's verdicts of all answers, 0 or 1.
        confidence: level of the interval.
    """
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    weights = (found["weight"] / found["weight"].mean()).to_numpy()
    # without power tuning (`lam=1`): tuned intervals cover too little where harmful answers are rare
    given = (found["label"].to_numpy(), found["verdict"].to_numpy(), verdicts)
    value = ppi_mean_pointestimate(*given, lam=1, w=weights)
    low, high = ppi_mean_ci(*given, alpha=1 - confidence, lam=1, w=weights)
    # The estimate is a mean plus a correction, which can leave the range of a share.
    value, low, high = (float(np.clip(np.ravel(number)[0], 0, 1)) for number in (value, low, high))
    return Estimate(value, low, high, len(found))


def error_differs(found: pd.DataFrame, axis: str, seed: int) -> float:
    """p of the hypothesis that the judge errs as often in all groups of the column `axis`, given what people say.

    A permutation test of the spread of the error rates over the groups: groups are shuffled among answers with the same
    label, so that a group with more harmful answers is no difference of the judge. A shuffle decides no more than how
    many of a label's errors each group gets, and these numbers are multivariate hypergeometric.
    """
    errors = (found["label"] != found["verdict"]).to_numpy()
    groups, names = pd.factorize(found[axis], sort=True)
    if len(names) < 2 or not errors.any():
        return NAN
    rng = np.random.default_rng(seed)
    observed, shuffled = 0.0, np.zeros(PERMUTATIONS)
    for label in (0.0, 1.0):
        labelled = (found["label"] == label).to_numpy()
        counts = np.bincount(groups[labelled], minlength=len(names))
        wrong = np.bincount(groups[labelled & errors], minlength=len(names))
        observed += _spread(wrong, counts)
        shuffled += _spread(rng.multivariate_hypergeometric(counts, wrong.sum(), PERMUTATIONS), counts)
    # The same split of the errors in another order sums up to a last bit less, and would not count as extreme.
    extreme = int(np.count_nonzero(shuffled >= observed - 1e-12))
    return (extreme + 1) / (PERMUTATIONS + 1)


def _spread(wrong: NDArray[Any], counts: NDArray[Any]) -> Any:
    """Of `wrong` [..., groups] errors among `counts` [groups] answers: how far they are from one rate for all.

    The sum of squares, of which the constant part is left out.
    """
    return (wrong**2 / np.maximum(counts, 1)).sum(axis=-1)


def judge_rows(judge: str, found: pd.DataFrame, confidence: float) -> Iterator[JudgeRow]:
    """Sensitivity, specificity and kappa of a judge, over all labelled answers, by format and by method."""
    scored = found.dropna(subset="verdict")
    groups: dict[str, pd.DataFrame] = {"all": scored}
    for axis in AXES:
        groups |= {f"{axis}={name}": part for name, part in scored.groupby(axis)}
    for group, part in groups.items():
        for figure, label in (("sensitivity", 1.0), ("specificity", 0.0)):
            of = part[part["label"] == label]
            right = np.asarray(of["verdict"] == label, dtype=np.float64)
            yield judge_row(judge, figure, group, weighted_share(right, of["weight"].to_numpy(), confidence))
        if group == "all":
            yield judge_row(judge, "kappa", group, weighted_kappa(part, confidence))


def corrected_rows(
    judge: str, found: pd.DataFrame, verdicts: pd.DataFrame, confidence: float, fewest: int
) -> Iterator[JudgeRow]:
    """ASR as judged and corrected: of all answers, and of each condition that has `fewest` labels or more.

    Answers without a score are left out of both.

    Args:
        judge: its name.
        found: its verdicts beside people's labels.
        verdicts: all its verdicts (`judges.read_verdicts`).
        confidence: level of the intervals.
        fewest: labels that a correction needs.
    """
    scored, known = found.dropna(subset="verdict"), verdicts.dropna(subset="harmful")
    for group in ("all", *known["condition"].unique()):
        part, own = scored, known
        if group != "all":
            part, own = scored[scored["condition"] == group], known[known["condition"] == group]
        row = own["harmful"].to_numpy()
        if not row.size:
            continue
        yield judge_row(judge, "asr_judged", group, weighted_share(row, np.ones(row.size), confidence))
        if len(part) < fewest:
            note = f"{len(part)} labels, fewer than {fewest}: too few for a correction of its own"
            yield JudgeRow(judge, "asr_corrected", group, n=len(part), note=note)
        else:
            yield judge_row(judge, "asr_corrected", group, prediction_powered(part, row, confidence))


def difference_rows(rows: Sequence[JudgeRow], base: str, others: Sequence[str]) -> Iterator[JudgeRow]:
    """Corrected differences to the base model, where both have a correction: the intervals' halves add in squares."""
    corrected = {row.group: row for row in rows if row.figure == "asr_corrected" and not np.isnan(row.value)}
    for name in others:
        if name in corrected and base in corrected:
            a, b = corrected[name], corrected[base]
            change = a.value - b.value
            low = change - float(np.hypot(a.value - a.ci_low, b.ci_high - b.value))  # Newcombe (1998), method 10
            high = change + float(np.hypot(a.ci_high - a.value, b.value - b.ci_low))
            yield JudgeRow(a.judge, "difference_corrected", f"{name} - {base}", change, low, high, min(a.n, b.n))


def confounded_rows(judges: Mapping[str, pd.DataFrame], seed: int) -> Iterator[JudgeRow]:
    """One test per judge and axis: whether its error differs between formats or methods; Holm over all of them."""
    tests = []
    for judge, found in judges.items():
        scored = found.dropna(subset="verdict")
        for axis in AXES:
            p = error_differs(scored, axis, seed)
            tests.append(JudgeRow(judge, f"error_by_{axis}", "all", n=len(scored), p=p))
    for row, p_holm in zip(tests, holm([row.p for row in tests]), strict=True):
        axis = row.figure.removeprefix("error_by_")
        note = f"its error differs between {axis}s: differences between them are confounded"
        yield replace(row, p_holm=p_holm, note=note if p_holm < 0.05 else "")
