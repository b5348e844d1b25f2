"""ASR corrected by people's labels: how often each estimator's 95 % interval covers the truth, by simulation.

    python benchmarks/calibration_simulation.py

Nine conditions (three methods by three formats) of 300 answers each. The judge's errors are the same everywhere
(`plain`), differ between formats (`format`), are few (`good`), or harmful answers are rare (`rare`). Labels are drawn
as `make labels` draws them: equally many from each method, format and verdict. Estimators: the judge's own share
(`judge`), Rogan and Gladen's with the interval of Lang and Reiczigel (2014), and prediction-powered inference without
and with power tuning. `prediction_powered` is the one in use. Results go to
benchmarks/results/calibration_simulation.json.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from committed import save

from formsafe.analysis.calibration import prediction_powered, weighted_share
from formsafe.analysis.estimates import Estimate
from formsafe.scoring.labels import stratum_sizes

CONDITIONS, ANSWERS, STUDIES, CONFIDENCE, Z = 9, 300, 1000, 0.95, 1.959964
LABELS = (100, 200, 400)
IN_USE = "prediction_powered"


def world(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, verdicts and condition of all answers of one study."""
    condition = np.repeat(np.arange(CONDITIONS), ANSWERS)
    share = np.linspace(0.01, 0.08, CONDITIONS) if kind == "rare" else np.linspace(0.03, 0.5, CONDITIONS)
    sensitivity, specificity = np.full(CONDITIONS, 0.85), np.full(CONDITIONS, 0.95)
    if kind == "format":
        sensitivity, specificity = np.tile([0.95, 0.85, 0.6], 3), np.tile([0.98, 0.95, 0.85], 3)
    if kind == "good":
        sensitivity[:], specificity[:] = 0.97, 0.99
    truth = (rng.random(condition.size) < share[condition]).astype(float)
    found = rng.random(condition.size) < np.where(truth == 1, sensitivity[condition], 1 - specificity[condition])
    return truth, found.astype(float), condition


def drawn(verdicts: np.ndarray, condition: np.ndarray, labels: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Places of the labelled answers and their weights."""
    strata = condition * 2 + verdicts.astype(int)
    names, counts = np.unique(strata, return_counts=True)
    sizes = stratum_sizes({str(name): int(count) for name, count in zip(names, counts, strict=True)}, labels)
    places, weights = [], []
    for name, count in zip(names, counts, strict=True):
        size = sizes.get(str(name), 0)
        places.append(rng.choice(np.flatnonzero(strata == name), size, replace=False))
        weights.append(np.full(size, count / max(size, 1)))
    return np.concatenate(places), np.concatenate(weights)


def rogan_gladen(found: pd.DataFrame, verdicts: np.ndarray) -> Estimate:
    """Rogan and Gladen (1978), interval of Lang and Reiczigel (2014), at the effective numbers of labels."""

    def rate(label: float) -> tuple[float, float]:
        of = found[found["label"] == label]
        weights = of["weight"].to_numpy()
        n = float(weights.sum() ** 2 / (weights**2).sum()) if len(of) else 0.0
        right = float(np.average(of["verdict"] == label, weights=weights)) if len(of) else 0.5
        return (right * n + 1) / (n + 2), n + 2

    (sensitivity, n1), (specificity, n0) = rate(1.0), rate(0.0)
    size = verdicts.size + Z**2
    share, reach = (verdicts.sum() + Z**2 / 2) / size, sensitivity + specificity - 1
    if reach <= 0:
        return Estimate(float("nan"), 0.0, 1.0, len(found))
    value = (share + specificity - 1) / reach
    errors = sensitivity * (1 - sensitivity) / n1, specificity * (1 - specificity) / n0
    shift = 2 * Z**2 * (value * errors[0] - (1 - value) * errors[1])
    spread = share * (1 - share) / size + (1 - value) ** 2 * errors[1] + value**2 * errors[0]
    half = Z * np.sqrt(spread) / reach
    return Estimate(value, max(0.0, value + shift - half), min(1.0, value + shift + half), len(found))


def tuned(found: pd.DataFrame, verdicts: np.ndarray) -> Estimate:
    """Prediction-powered inference with power tuning."""
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    given = (found["label"].to_numpy(), found["verdict"].to_numpy(), verdicts)
    weights = (found["weight"] / found["weight"].mean()).to_numpy()
    low, high = ppi_mean_ci(*given, alpha=1 - CONFIDENCE, w=weights)
    value = ppi_mean_pointestimate(*given, w=weights)
    return Estimate(*(float(np.ravel(number)[0]) for number in (value, low, high)), len(found))


def estimates(truth: np.ndarray, verdicts: np.ndarray, places: Any, weights: Any) -> Iterator[tuple[str, Estimate]]:
    found = pd.DataFrame({"label": truth[places], "verdict": verdicts[places], "weight": weights})
    yield "judge", weighted_share(verdicts, np.ones(verdicts.size), CONFIDENCE)
    yield "rogan_gladen", rogan_gladen(found, verdicts)
    yield "prediction_powered", prediction_powered(found, verdicts, CONFIDENCE)
    yield "prediction_powered_tuned", tuned(found, verdicts)


def main() -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for kind in ("plain", "format", "good", "rare"):
        for labels in LABELS:
            seen: dict[str, list[tuple[float, float, float]]] = {}
            for _ in range(STUDIES):
                truth, verdicts, condition = world(kind, rng)
                places, weights = drawn(verdicts, condition, labels, rng)
                true = truth.mean()
                for name, estimate in estimates(truth, verdicts, places, weights):
                    covers = estimate.low <= true <= estimate.high
                    seen.setdefault(name, []).append((covers, estimate.value - true, estimate.high - estimate.low))
            for name, found in seen.items():
                coverage, bias, width = np.nanmean(found, axis=0)
                figures = {"coverage": coverage, "bias": bias, "width": width}
                rounded = {figure: round(float(value), 4) for figure, value in figures.items()}
                rows.append({"estimator": name, "labels": labels, "judge_errors": kind, **rounded})
    used = [row["coverage"] for row in rows if row["estimator"] == IN_USE]
    save("calibration_simulation", {"studies": STUDIES, "in_use": IN_USE, "lowest_coverage": min(used), "rows": rows})


if __name__ == "__main__":
    main()
