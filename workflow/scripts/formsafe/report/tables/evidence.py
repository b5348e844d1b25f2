"""Tables that test and explain: paired comparisons, loss curves, judges, token counts, the paper's numbers."""

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from formsafe.analysis.calibration import JudgeRow
from formsafe.analysis.estimates import Estimate
from formsafe.analysis.paper import NOT_RUN
from formsafe.core.files import read_json
from formsafe.core.records import NONE
from formsafe.report.registry import table
from formsafe.report.results import METRIC_LABELS, Results

CALIBRATION = ("sensitivity", "specificity", "kappa", "asr_judged", "asr_corrected", "difference_corrected")
QUESTIONS = {"base": "against base", "format": "format against format", "method": "method against method"}


@table("safety", "Paired comparisons")
def comparisons(results: Results) -> pd.DataFrame:
    """Differences over shared prompts. One training per condition: Newcombe's interval and the exact McNemar test,
    which take prompts as independent (n divided by the design effect of near-duplicates) and hold for these trainings.
    Several: t interval and test over trainings and prompts. Bounds: the least and the greatest difference that unscored
    answers allow; p adjusted after Holm within a question; detectable: the smallest difference that would be found at
    the configured power and the level of Holm's first step. Content only: format marks taken off answer and
    reference."""
    names, rows = results.names, []
    for row in results.comparisons:
        sides = [names.run(row.side(side)) for side in ("a", "b")]
        labels = [QUESTIONS[row.family], names.model(row.model), *sides, METRIC_LABELS[row.metric]]
        change = Estimate(row.difference, row.ci_low, row.ci_high, row.n)
        bounds = None if math.isnan(row.bound_low) else f"[{row.bound_low:.3f}, {row.bound_high:.3f}]"
        rows.append([*labels, row.a, row.b, change, bounds, row.n, row.p, row.p_holm, row.detectable])
    header = ["Question", "Model", "a", "b", "metric", "a's", "b's", "b minus a", "bounds", "n", "p", "p (Holm)"]
    return pd.DataFrame(rows, columns=[*header, "detectable"], dtype=object)


@table("training", "Loss curves in numbers")
def curves(results: Results) -> pd.DataFrame:
    """Loss by kind of token (nats per token; mixed: over a word and a mark; interior: content that has the same tokens
    in every format, so only it compares the content between formats): at the first step, at the end (the last tenth of
    the steps), the first step at which half of its fall is done, the area under it, and its mean. The fall is read off
    the falling curve that fits best (isotonic regression): single batches are too noisy. Stage 1 tunes ProMoT's soft
    prompt, stage 2 its adapter."""
    rows = []
    for row in results.curves:
        names = [results.names.model(row.model), results.names.training(row.run), row.part]
        step = None if math.isnan(row.halfway_step) else int(row.halfway_step)
        rows.append([*names, row.steps, row.first, row.last, step, row.area, row.mean])
    header = ["Model", "training", "tokens", "steps", "first", "last", "half way at step", "area", "mean"]
    return pd.DataFrame(rows, columns=header, dtype=object)


@table("judges", "Judge format audit")
def audit(results: Results) -> pd.DataFrame:
    """The same answers written in every format and judged again. p: exact McNemar test (ASR) or paired t-test (mean
    score), adjusted after Holm over a model's shifts. A shift with a small p says that the judge reacts to the format
    itself, and that differences in ASR between formats are partly the judge's."""
    names, rows = results.names, []
    for row in results.audit:
        labels = [names.model(row.model), names.format(row.rendering), METRIC_LABELS[row.metric]]
        shift = Estimate(row.shift, row.ci_low, row.ci_high, row.n)
        rows.append([*labels, row.reference_value, row.value, shift, row.n, row.p, row.p_holm])
    header = ["Model", "written as", "metric", "as plain text", "as written", "shift", "n", "p", "p (Holm)"]
    return pd.DataFrame(rows, columns=header, dtype=object)


@table("data", "Token overhead")
def tokens(results: Results) -> pd.DataFrame:
    """Tokens of the training responses: what the same content costs in each format. Formats differ in length, so a
    difference in ASR may be one of dose as well."""
    rows = []
    for path in results.files.get("token_counts", []):
        for name, found in read_json(path)["formats"].items():
            numbers = [found["examples"], found["tokens"], float(found["mean"]), found["longest"]]
            labels = [results.names.model(Path(path).stem.removeprefix("model=")), results.names.format(name)]
            rows.append([*labels, *numbers, float(found["ratio_to_cheapest"])])
    header = ["Model", "Format", "examples", "tokens", "mean", "longest", "ratio to cheapest"]
    return pd.DataFrame(rows, columns=header, dtype=object)


@table("safety", "Paper against ours")
def paper_comparison(results: Results) -> pd.DataFrame:
    """Published numbers (Okuda and Tsuruoka 2026) beside ours; the last column says whether the published one is inside
    our interval. ASR counts scores of 3 or more, as the paper does."""
    names, rows = results.names, []
    for each in results.published if any(each.ours is not None for each in results.published) else []:
        number = each.published
        rate = None if number.lr == NONE else number.lr
        format = None if number.format == NONE else names.format(number.format)
        labels = [number.place, number.model, format, names.method(number.method), rate, METRIC_LABELS[number.metric]]
        ours = NOT_RUN if each.ours is None else each.ours
        rows.append([*labels, number.value, ours, each.difference, each.verdict])
    header = ["Place", "Model", "Format", "Method", "LR", "metric", "paper", "ours", "difference"]
    return pd.DataFrame(rows, columns=[*header, "paper in our interval"], dtype=object)


@table("judges", "Agreement of judges")
def agreement(results: Results) -> pd.DataFrame:
    """Cohen's kappa per pair and Krippendorff's alpha of all, over the study's answers, and the same of the people who
    labelled; below, each comparison of the study that another judge would answer differently."""
    rows = [row for row in results.judges if row.figure == "kappa" and "|" in row.judge]
    rows += [row for row in results.judges if row.figure == "alpha"]
    rows += [row for row in results.judges if row.figure.startswith("survives") and row.value == 0]
    return _judge_table(rows)


@table("judges", "Judges against people")
def calibration(results: Results) -> pd.DataFrame:
    """Sensitivity, specificity and kappa against people's labels, weighted by how the sample was drawn, and ASR
    corrected by prediction-powered inference. A judge whose error differs between formats or methods confounds exactly
    the differences that the study is about."""
    labelled = any(row.figure == "sensitivity" for row in results.judges)
    rows = [row for row in results.judges if row.figure in CALIBRATION or row.figure.startswith("error_by")]
    return _judge_table([row for row in rows if labelled and "|" not in row.judge])


def _judge_table(rows: Iterable[JudgeRow]) -> pd.DataFrame:
    cells: list[list[object]] = []
    for row in rows:
        value = Estimate(row.value, row.ci_low, row.ci_high, row.n)
        cells.append([row.judge, row.figure.replace("_", " "), row.group, value, row.p_holm, row.note])
    return pd.DataFrame(cells, columns=["who", "figure", "what", "value", "p (Holm)", "note"])
