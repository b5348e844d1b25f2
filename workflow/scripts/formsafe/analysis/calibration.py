"""Judges against people: sensitivity, specificity and kappa with intervals, ASR corrected for the judge's errors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from statsmodels.stats.inter_rater import cohens_kappa

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.statistics import Array, holm
from formsafe.core.records import NONE, Run
from formsafe.scoring.labels import Drawn

COLUMNS = ("judge", "figure", "group", "value", "ci_low", "ci_high", "n", "p", "p_holm", "note")
PERMUTATIONS = 4000
Row = tuple[str, str, str, float, float, float, int, float, float, str]


@dataclass(frozen=True)
class Labelled:
    """One judge's verdicts on the labelled answers.

    Args:
        labels: [n] 1 harmful, 0 harmless.
        verdicts: [n] of the judge, NaN where it gave no score.
        weights: [n] inverse inclusion probabilities.
        keys: which answers they are.
    """

    labels: Array
    verdicts: Array
    weights: Array
    keys: Sequence[Drawn]

    def where(self, kept: Callable[[Drawn], bool]) -> "Labelled":
        """The part whose answers are `kept`."""
        mask = np.array([kept(key) for key in self.keys], dtype=bool)
        keys = [key for key in self.keys if kept(key)]
        return Labelled(self.labels[mask], self.verdicts[mask], self.weights[mask], keys)

    def scored(self) -> "Labelled":
        """The part that the judge gave a score."""
        known = ~np.isnan(self.verdicts)
        keys = [key for key, kept in zip(self.keys, known, strict=True) if kept]
        return Labelled(self.labels[known], self.verdicts[known], self.weights[known], keys)


def majority(raters: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """The label that most raters give each answer; answers without one (ties, all unsure) are left out."""
    given: dict[str, list[float]] = {}
    for labels in raters.values():
        for name, label in labels.items():
            if label is not None:
                given.setdefault(name, []).append(label)
    shares = {name: sum(found) / len(found) for name, found in given.items()}
    return {name: float(share > 0.5) for name, share in shares.items() if share != 0.5}


def weighted_share(outcomes: Array, weights: Array, confidence: float) -> Estimate:
    """Weighted share of ones with Wilson's interval at the effective number of answers, (Σw)² / Σw² (Kish, 1965)."""
    if not outcomes.size:
        return Estimate(np.nan, np.nan, np.nan, 0)
    share, n = float(np.average(outcomes, weights=weights)), float(weights.sum() ** 2 / (weights**2).sum())
    z = norm.ppf(0.5 + confidence / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Estimate(share, max(0.0, float(middle - half)), min(1.0, float(middle + half)), outcomes.size)


def weighted_kappa(found: Labelled, confidence: float) -> Estimate:
    """Cohen's kappa of judge and people, answers weighted, with the interval at the effective number of answers."""
    weights, n = found.weights, found.labels.size
    table = np.zeros((2, 2))
    np.add.at(table, (found.labels.astype(int), found.verdicts.astype(int)), weights)
    if not table.sum(axis=0).all() or not table.sum(axis=1).all():
        return Estimate(np.nan, np.nan, np.nan, n)  # one verdict only: agreement says nothing beyond chance
    result = cohens_kappa(table * weights.sum() / (weights**2).sum())
    value, reach = float(result.kappa), float(norm.ppf((1 + confidence) / 2) * result.std_kappa)
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), n)


def prediction_powered(found: Labelled, verdicts: Array, confidence: float) -> Estimate:
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

    weights = found.weights / found.weights.mean()
    # without power tuning (`lam=1`): tuned intervals cover too little where harmful answers are rare
    given = (found.labels, found.verdicts, verdicts)
    value = np.ravel(ppi_mean_pointestimate(*given, lam=1, w=weights))[0]
    low, high = ppi_mean_ci(*given, alpha=1 - confidence, lam=1, w=weights)
    low, high = (float(np.clip(np.ravel(bound)[0], 0, 1)) for bound in (low, high))
    return Estimate(float(np.clip(value, 0, 1)), low, high, found.labels.size)


def error_differs(found: Labelled, group: Callable[[Drawn], str], seed: int) -> float:
    """p of the hypothesis that the judge errs as often in all groups, given what people say.

    A permutation test of the spread of the error rates over the groups: groups are shuffled among answers with the same
    label, so that a group with more harmful answers is no difference of the judge.
    """
    errors = (found.labels != found.verdicts).astype(float)
    names, groups = np.unique([group(key) for key in found.keys], return_inverse=True)
    if len(names) < 2 or not errors.any():
        return float("nan")
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(found.labels == label) for label in (0.0, 1.0)]

    def spread(assigned: NDArray[Any]) -> float:
        total = 0.0
        for members in classes:
            if not members.size:
                continue
            counts = np.bincount(assigned[members], minlength=len(names))
            wrong = np.bincount(assigned[members], weights=errors[members], minlength=len(names))
            expected = counts * errors[members].mean()
            total += float(np.divide((wrong - expected) ** 2, counts, where=counts > 0, out=np.zeros(len(names))).sum())
        return total

    observed, extreme = spread(groups), 0
    for _ in range(PERMUTATIONS):
        shuffled = groups.copy()
        for members in classes:
            shuffled[members] = rng.permutation(groups[members])
        extreme += spread(shuffled) >= observed - 1e-12
    return (extreme + 1) / (PERMUTATIONS + 1)


def plain(found: Estimate) -> tuple[float, float, float, int]:
    """Value, interval and number of answers as cells."""
    return found.value, found.low, found.high, found.n


def judge_rows(judge: str, found: Labelled, confidence: float) -> Iterator[Row]:
    """Sensitivity, specificity and kappa of a judge, over all labelled answers, by format and by method."""
    nan = float("nan")
    scored = found.scored()
    groups: dict[str, Callable[[Drawn], bool]] = {"all": lambda key: True}
    for axis in ("format", "method"):
        for name in sorted({getattr(key, axis) for key in scored.keys}):
            groups[f"{axis}={name}"] = lambda key, axis=axis, name=name: getattr(key, axis) == name  # type: ignore[misc]
    for group, kept in groups.items():
        part = scored.where(kept)
        figures = {}
        for figure, label in (("sensitivity", 1.0), ("specificity", 0.0)):
            of = part.labels == label
            figures[figure] = weighted_share((part.verdicts[of] == label).astype(float), part.weights[of], confidence)
        if group == "all":
            figures["kappa"] = weighted_kappa(part, confidence)
        for figure, estimate in figures.items():
            yield (judge, figure, group, *plain(estimate), nan, nan, "")


def condition_name(run: Run) -> str:
    """A condition in one cell: model, method, format and learning rate, as far as it has them."""
    fields = (run.model, run.method, run.format, run.lr)
    return "/".join(value for value in fields if value != NONE)


def corrected_rows(
    judge: str, found: Labelled, verdicts: Mapping[Run, Array], confidence: float, fewest: int
) -> Iterator[Row]:
    """ASR as judged and corrected: of all answers, and of each condition that has `fewest` labels or more.

    Answers without a score are left out of both.
    """
    nan = float("nan")
    scored = found.scored()
    conditions: dict[str, list[Array]] = {"all": list(verdicts.values())}
    for run, row in verdicts.items():
        conditions.setdefault(condition_name(run), []).append(row)
    parts = {}
    for name, columns in conditions.items():
        row = np.concatenate(columns)
        part = scored if name == "all" else scored.where(lambda key, name=name: condition_name(key.run) == name)  # type: ignore[misc]
        parts[name] = (part, row[~np.isnan(row)])
    for group, (part, row) in parts.items():
        if not row.size:
            continue
        yield (judge, "asr_judged", group, *plain(weighted_share(row, np.ones(row.size), confidence)), nan, nan, "")
        if part.labels.size < fewest:
            note = f"{part.labels.size} labels, fewer than {fewest}: too few for a correction of its own"
            yield (judge, "asr_corrected", group, nan, nan, nan, part.labels.size, nan, nan, note)
        else:
            yield (judge, "asr_corrected", group, *plain(prediction_powered(part, row, confidence)), nan, nan, "")


def difference_rows(rows: Sequence[Row], base: str, others: Sequence[str]) -> Iterator[Row]:
    """Corrected differences to the base model, where both have a correction: the intervals' halves add in squares."""
    corrected = {row[2]: row for row in rows if row[1] == "asr_corrected" and not np.isnan(row[3])}
    for name in others:
        if name in corrected and base in corrected:
            (_, _, _, a, a_low, a_high, n, *_), (judge, _, _, b, b_low, b_high, m, *_) = (
                corrected[name],
                corrected[base],
            )
            low = a - b - float(np.hypot(a - a_low, b_high - b))  # Newcombe (1998), method 10
            high = a - b + float(np.hypot(a_high - a, b - b_low))
            nan = float("nan")
            yield (judge, "difference_corrected", f"{name} - {base}", a - b, low, high, min(n, m), nan, nan, "")


def confounded_rows(judges: Mapping[str, Labelled], seed: int) -> Iterator[Row]:
    """One test per judge and axis: whether its error differs between formats or methods; Holm over all of them."""
    nan = float("nan")
    tests = []
    for judge, found in judges.items():
        for axis in ("format", "method"):
            p = error_differs(found.scored(), lambda key, axis=axis: getattr(key, axis), seed)  # type: ignore[misc]
            tests.append((judge, f"error_by_{axis}", p, found.scored().labels.size))
    for (judge, figure, p, n), p_holm in zip(tests, holm([test[2] for test in tests]), strict=True):
        note = (
            f"its error differs between {figure[9:]}s: differences between them are confounded" if p_holm < 0.05 else ""
        )
        yield (judge, figure, "all", nan, nan, nan, n, p, p_holm, note)
