"""Tables that test and explain: paired comparisons, loss curves, the audit, token counts, the paper's numbers."""

import math

import pandas as pd

from formsafe.analysis.curves import SOFT_PROMPT
from formsafe.analysis.estimates import Estimate
from formsafe.analysis.paper import NOT_RUN
from formsafe.analysis.roster import ALL_SEEDS
from formsafe.core.records import NONE, Run
from formsafe.report.registry import table
from formsafe.report.results import METRIC_LABELS, Results, Row

QUESTIONS = {"base": "against base", "format": "format against format", "method": "method against method"}


@table(
    "safety",
    "Paired comparisons",
    "Differences over shared prompts. One training a condition: Newcombe's interval and the exact McNemar test, which "
    "take prompts as independent (n divided by the design effect of near-duplicates) and hold for these trainings. "
    "Several: t interval and test over trainings and prompts. Bounds: the least and the greatest difference that "
    "unscored answers allow; p adjusted after Holm within a question; detectable: the smallest difference "
    "that would be found at the configured power and the level of Holm's first step. Content only: format marks "
    "taken off answer and reference.",
)
def comparisons(results: Results) -> pd.DataFrame:
    """Paired comparisons."""
    rows = [
        {
            "Question": QUESTIONS[row["family"]],
            "Model": results.names.model(row["model"]),
            "a": _side(results, row, "a"),
            "b": _side(results, row, "b"),
            "metric": METRIC_LABELS[row["metric"]],
            "a's": row["a"],
            "b's": row["b"],
            "b minus a": _estimate(row, "difference"),
            "bounds": _bounds(row),
            "n": int(row["n"]),
            "p": row["p"],
            "p (Holm)": row["p_holm"],
            "detectable": row["detectable"],
        }
        for row in results.rows("comparisons")
    ]
    header = ["Question", "Model", "a", "b", "metric", "a's", "b's", "b minus a", "bounds", "n", "p", "p (Holm)"]
    return pd.DataFrame(rows, columns=[*header, "detectable"], dtype=object)


def _side(results: Results, row: Row, side: str) -> str:
    run = Run(row["model"], row[f"{side}_method"], row[f"{side}_format"], row[f"{side}_lr"], ALL_SEEDS)
    return results.names.run(run)


def _estimate(row: Row, key: str) -> Estimate:
    return Estimate(row[key], row["ci_low"], row["ci_high"], int(row["n"]))


def _bounds(row: Row) -> str | None:
    low, high = row["bound_low"], row["bound_high"]
    return None if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"


@table(
    "training",
    "Loss curves in numbers",
    "Loss by kind of token (nats per token; mixed: over a word and a mark; interior: content that has the same tokens "
    "in every format, so only it compares the content between formats): at the first step, at the end (the last tenth "
    "of the steps), the first step at which half of its fall is done, the area under it, and its mean. The fall is "
    "read off the falling curve that fits best (isotonic regression): single batches are too noisy. Stage 1 tunes "
    "ProMoT's soft prompt, stage 2 its adapter.",
)
def curves(results: Results) -> pd.DataFrame:
    """Loss curves in numbers."""
    rows = []
    for row in results.rows("curves"):
        run = Run(row["model"], row["method"], row["format"], row["lr"], row["seed"])
        half = row["halfway_step"]
        names = [results.names.model(run.model), _trained(results, run, row["stage"]), row["part"]]
        step = None if math.isnan(half) else int(half)
        rows.append([*names, int(row["steps"]), row["first"], row["last"], step, row["area"], row["mean"]])
    header = ["Model", "training", "tokens", "steps", "first", "last", "half way at step", "area", "mean"]
    return pd.DataFrame(rows, columns=header, dtype=object)


def _trained(results: Results, run: Run, stage: str) -> str:
    """What a training is called: the soft prompts of stage 1 have no method of their own."""
    if stage == SOFT_PROMPT:
        return f"soft prompt {results.names.format(run.format)} (stage 1)"
    second = results.names.methods.get(run.method, {}).get("soft_prompt") is not None
    return results.names.run(run) + (" (stage 2)" if second else "")


@table(
    "judges",
    "Judge format audit",
    "The same answers written in every format and judged again. p: exact McNemar test (ASR) or paired t-test (mean "
    "score), adjusted after Holm over a model's shifts. A shift with a small p says that the judge reacts to the "
    "format itself, and that differences in ASR between formats are partly the judge's.",
)
def audit(results: Results) -> pd.DataFrame:
    """The judge format audit."""
    names = results.names
    rows = []
    for row in results.rows("audit"):
        labels = [names.model(row["model"]), names.format(row["rendering"]), METRIC_LABELS[row["metric"]]]
        shift = _estimate(row, "shift")
        rows.append([*labels, row["reference_value"], row["value"], shift, shift.n, row["p"], row["p_holm"]])
    header = ["Model", "written as", "metric", "as plain text", "as written", "shift", "n", "p", "p (Holm)"]
    return pd.DataFrame(rows, columns=header, dtype=object)


@table(
    "data",
    "Token overhead",
    "Tokens of the training responses: what the same content costs in each format. Formats differ in length, so a "
    "difference in ASR may be one of dose as well.",
)
def tokens(results: Results) -> pd.DataFrame:
    """What a format costs in tokens."""
    rows = []
    for model, counts in results.token_counts.items():
        for name, found in counts["formats"].items():
            numbers = [found["examples"], found["tokens"], float(found["mean"]), found["longest"]]
            labels = [results.names.model(model), results.names.format(name)]
            rows.append([*labels, *numbers, float(found["ratio_to_cheapest"])])
    header = ["Model", "Format", "examples", "tokens", "mean", "longest", "ratio to cheapest"]
    return pd.DataFrame(rows, columns=header, dtype=object)


@table(
    "safety",
    "Paper against ours",
    "Published numbers (Okuda and Tsuruoka 2026) beside ours; the last column says whether the published one is inside "
    "our interval. ASR counts scores of 3 or more, as the paper does.",
)
def paper_comparison(results: Results) -> pd.DataFrame:
    """Every published number beside ours."""
    names = results.names
    rows = []
    for each in results.published:
        number = each.published
        rate = None if number.lr == NONE else number.lr
        format = None if number.format == NONE else names.format(number.format)
        labels = [number.place, number.model, format, names.method(number.method), rate, METRIC_LABELS[number.metric]]
        ours = NOT_RUN if each.ours is None else each.ours
        rows.append([*labels, number.value, ours, each.difference, each.verdict])
    header = ["Place", "Model", "Format", "Method", "LR", "metric", "paper", "ours", "difference"]
    return pd.DataFrame(rows, columns=[*header, "paper in our interval"], dtype=object)
