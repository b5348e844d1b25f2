"""How often the study's tests are wrong, and how often its intervals hold the truth, where the truth is known.

Two conditions of k trainings answer the same n prompts. The chance of a harmful answer is a probit of the condition,
the training, the prompt and, where `interaction` says so, the prompt within the condition (prompts that react
differently to conditions); `scatter` is the standard deviation of a training's ASR in points. The true ASR is then
exact: a normal integral. `ours` is `formsafe.analysis.crossed`; `prompts_only` is the paired t-test over prompts
that takes the trainings as given, as most studies do. One training: the exact McNemar test with Newcombe's interval.

`type_one`: share of false alarms at two equal conditions, level 0.05. `power` and `coverage`: at a true difference of
ten points. Writes benchmarks/results/inference_simulation.json. Two to three minutes.
"""

import argparse
import itertools

import numpy as np
from committed import ROOT, save  # noqa: F401  (puts the library on the path)
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import norm
from scipy.stats import t as t_distribution

from formsafe.analysis.crossed import Side, crossed, prompt_variance
from formsafe.analysis.statistics import Table, mcnemar, newcombe

BASE, DIFFERENCE, LEVEL = 0.20, 0.10, 0.05
PROMPTS_SD = 1.0  # of the prompts' hardness, in probits
INTERACTION_SD = 0.5  # of the prompts' reaction to a condition
CELLS = 2_000_000  # answers drawn at once: 16 MB


def trainings_sd(asr: float, scatter: float, rest: float) -> float:
    """Standard deviation of trainings in probits at which a training's ASR scatters by `scatter`.

    `rest`: variance of everything else.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def spread(sd: float) -> float:
        found = ndtr((ndtri(asr) * np.sqrt(rest + sd**2) + sd * nodes) / np.sqrt(rest))
        return float(np.sqrt(weights @ (found - weights @ found) ** 2))

    return brentq(lambda sd: spread(sd) - scatter, 1e-4, 4.0) if scatter else 0.0


def drawn(rng: np.random.Generator, prompts: np.ndarray, asr: float, k: int, scatter: float, reaction: float):
    """Harmful (1) or not (0), [studies, k, n], of one condition whose true ASR is `asr`."""
    studies, n = prompts.shape
    rest = 1 + PROMPTS_SD**2 + reaction**2
    sd = trainings_sd(asr, scatter, rest)
    hardness = prompts + reaction * rng.standard_normal((studies, n), dtype=np.float32)
    trainings = sd * rng.standard_normal((studies, k), dtype=np.float32)
    level = np.float32(ndtri(asr) * np.sqrt(rest + sd**2))
    chance = ndtr(level + trainings[:, :, None] + hardness[:, None, :])
    return (rng.random((studies, k, n), dtype=np.float32) < chance).astype(float)


def intervals(a: np.ndarray, b: np.ndarray) -> dict[str, tuple]:
    """Value, interval and p by method, [studies]."""
    spread = crossed([Side(a, -1.0), Side(b)])
    contrast = b.mean(axis=1) - a.mean(axis=1)
    deviations = contrast - contrast.mean(axis=1, keepdims=True)
    alone, _, _ = prompt_variance(deviations, None)
    found = {}
    for method, variance, freedom in (
        ("ours", spread.variance, spread.freedom),
        ("prompts_only", alone, np.float64(a.shape[-1] - 1)),
    ):
        reach = t_distribution.ppf(1 - LEVEL / 2, freedom) * np.sqrt(variance)
        p = 2 * t_distribution.sf(np.abs(spread.value) / np.sqrt(variance), freedom)
        found[method] = (spread.value - reach, spread.value + reach, p)
    return found


def one_training(a: np.ndarray, b: np.ndarray) -> dict[str, tuple]:
    """Newcombe's interval and the exact McNemar test of each study."""
    tables = [Table.of(x[0], y[0]) for x, y in zip(a, b, strict=True)]
    limits = np.array([newcombe(table, norm.ppf(1 - LEVEL / 2)) for table in tables]).T
    return {"prompts_only": (limits[0], limits[1], np.array([mcnemar(table) for table in tables]))}


def rates(studies: int, n: int, k: int, scatter: float, reaction: float, difference: float) -> dict[str, np.ndarray]:
    """Share of studies that reject, and whose interval holds the true difference, by method."""
    rng = np.random.default_rng([studies, n, k, round(100 * scatter), round(10 * reaction), round(100 * difference)])
    counts: dict[str, np.ndarray] = {}
    size = max(1, CELLS // (n * k))
    for start in range(0, studies, size):
        prompts = PROMPTS_SD * rng.standard_normal((min(size, studies - start), n), dtype=np.float32)
        a, b = (drawn(rng, prompts, asr, k, scatter, reaction) for asr in (BASE, BASE + difference))
        for method, (low, high, p) in (one_training if k == 1 else intervals)(a, b).items():
            hits = np.array([(p < LEVEL).sum(), ((low <= difference) & (difference <= high)).sum()])
            counts[method] = counts.get(method, 0) + hits
    return {method: hits / studies for method, hits in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000)
    studies = parser.parse_args().studies
    rows = []
    grid = itertools.product((128, 1320), (1, 2, 3, 5, 8), (0, 3, 6), (False, True))
    for n, k, points, interaction in grid:
        cell = (n, k, points / 100, INTERACTION_SD if interaction else 0.0)
        null, real = rates(studies, *cell, 0.0), rates(studies, *cell, DIFFERENCE)
        for method in null:
            row = {"method": method, "k": k, "scatter": points, "interaction": interaction, "n": n}
            row |= {"type_one": round(float(null[method][0]), 4), "coverage": round(float(real[method][1]), 4)}
            rows.append(row | {"power": round(float(real[method][0]), 4)})
            print(rows[-1], flush=True)
    setting = {"studies": studies, "asr": BASE, "difference": DIFFERENCE, "level": LEVEL}
    setting |= {"prompts_sd": PROMPTS_SD, "interaction_sd": INTERACTION_SD, "summary": summary(rows)}
    save("inference_simulation", {**setting, "rows": rows})


def summary(rows: list[dict]) -> dict[str, dict[str, float]]:
    """The worst cells."""
    ours = {True: [], False: []}
    for row in rows:
        if row["method"] == "ours":
            ours[row["k"] >= 5].append(row)
    alone = [row for row in rows if row["method"] == "prompts_only" and row["k"] >= 5 and row["scatter"]]
    single = [row for row in rows if row["k"] == 1 and row["n"] == 1320 and row["scatter"] == 3]
    several, few = (
        {key: [row[key] for row in ours[many]] for key in ("type_one", "coverage")} for many in (True, False)
    )
    covered = {"least_coverage": min(several["coverage"]), "most_coverage": max(several["coverage"])}
    return {
        "ours_from_5_trainings": {"most_type_one": max(several["type_one"]), **covered},
        "ours_with_2_or_3": {"most_type_one": max(few["type_one"]), "least_coverage": min(few["coverage"])},
        "prompts_only_from_5_trainings_that_scatter": {"most_type_one": max(row["type_one"] for row in alone)},
        "one_training_that_scatters_by_3_points": {"type_one": max(row["type_one"] for row in single)},
    }


if __name__ == "__main__":
    main()
