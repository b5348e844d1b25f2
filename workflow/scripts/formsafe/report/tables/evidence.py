"""Tables that test and explain: paired comparisons, loss curves, the audit, token counts, the paper's numbers."""

from collections.abc import Mapping

from formsafe.analysis.curves import SOFT_PROMPT
from formsafe.analysis.estimates import estimate_from
from formsafe.analysis.paper import NOT_RUN
from formsafe.analysis.roster import ALL_SEEDS
from formsafe.analysis.score_table import as_float
from formsafe.config.grid import NONE, Run
from formsafe.report.tables.base import METRIC_LABELS, RUN_HEADER, Cell, Results, Table

QUESTIONS = {"base": "against base", "format": "format against format", "method": "method against method"}


def comparisons(results: Results) -> Table:
    """Paired comparisons."""
    rows: list[list[Cell]] = []
    for row in results.comparisons:
        low, high = as_float(row["bound_low"]), as_float(row["bound_high"])
        rows.append(
            [
                *(QUESTIONS[row["family"]], results.names.model(row["model"])),
                *(_side(results, row, "a"), _side(results, row, "b"), METRIC_LABELS[row["metric"]]),
                *(as_float(row["a"]), as_float(row["b"]), estimate_from(row, "difference")),
                *(None if low != low else f"{low:.3f} to {high:.3f}", int(row["n"])),
                *(as_float(row["p"]), as_float(row["p_holm"]), as_float(row["detectable"])),
            ]
        )
    caption = (
        "Paired comparisons over shared prompts: difference with its bootstrap interval (prompts, and seeds where "
        "there are several: too narrow at two or three); bounds: the least and the greatest difference that unscored "
        "answers allow; p: exact McNemar test over prompts, with several seeds the paired t-test on prompts' means "
        "over seeds, which takes the seeds as given; adjusted after Holm within a question; detectable: the smallest "
        "rise above a's rate (between methods: the smallest fall) that n prompts find at the configured power and the "
        "level of Holm's first step, without the help of pairing. Content only: format marks taken off answer and "
        "reference. An interval without width means that no prompt differs between draws, not that the difference is "
        "known exactly."
    )
    header = ["Question", "Model", "a", "b", "metric", "a's", "b's", "b less a", "bounds", "n", "p", "p (Holm)"]
    return Table("comparisons", "Paired comparisons", caption, [*header, "detectable"], rows)


def _side(results: Results, row: Mapping[str, str], side: str) -> str:
    run = Run(row["model"], row[f"{side}_method"], row[f"{side}_format"], row[f"{side}_lr"], ALL_SEEDS)
    return results.names.run(run)


def curves(results: Results) -> Table:
    """Loss curves in figures."""
    rows: list[list[Cell]] = []
    for row in results.curves:
        run = Run(row["model"], row["method"], row["format"], row["lr"], row["seed"])
        half = as_float(row["halfway_step"])
        rows.append(
            [
                *(results.names.model(run.model), _trained(results, run, row["stage"]), row["part"]),
                *(int(row["steps"]), as_float(row["first"]), as_float(row["last"])),
                *(None if half != half else int(half), as_float(row["area"]), as_float(row["mean"])),
            ]
        )
    caption = (
        "Loss on all, format and content tokens (nats a token): at the first step, at the end (the last tenth of the "
        "steps), the first step at which half of its fall is done, the area under it, and its mean. The fall is read "
        "off the falling curve that fits best (isotonic regression): single batches are too noisy. Stage 1 tunes "
        "ProMoT's soft prompt, stage 2 its adapter."
    )
    header = ["Model", "training", "tokens", "steps", "first", "last", "half way at step", "area", "mean"]
    return Table("curves", "Format against content", caption, header, rows)


def _trained(results: Results, run: Run, stage: str) -> str:
    """What a training is called: the soft prompts of stage 1 have no method of their own."""
    if stage == SOFT_PROMPT:
        return f"soft prompt {results.names.format(run.format)} (stage 1)"
    second = results.names.methods.get(run.method, {}).get("soft_prompt") is not None
    return results.names.run(run) + (" (stage 2)" if second else "")


def audit(results: Results) -> Table:
    """The judge format audit."""
    rows: list[list[Cell]] = [
        [
            *(results.names.model(row["model"]), results.names.format(row["rendering"]), METRIC_LABELS[row["metric"]]),
            *(as_float(row["reference_value"]), as_float(row["value"]), estimate_from(row, "shift")),
            *(int(row["n"]), as_float(row["p"]), as_float(row["p_holm"])),
        ]
        for row in results.audit
    ]
    caption = (
        "Judge format audit: the same answers written in every format and judged again. p: exact McNemar test (ASR) or "
        "paired t-test (mean score), adjusted after Holm over a model's shifts; a small one means that the judge "
        "reacts to the format itself."
    )
    header = ["Model", "written as", "metric", "as plain text", "as written", "shift", "n", "p", "p (Holm)"]
    return Table("audit", "Judge format audit", caption, header, rows)


def tokens(results: Results) -> Table:
    """What a format costs in tokens."""
    rows: list[list[Cell]] = [
        [
            *(results.names.model(model), results.names.format(name), found["examples"], found["tokens"]),
            *(float(found["mean"]), found["longest"], float(found["ratio_to_cheapest"])),
        ]
        for model, counts in results.token_counts.items()
        for name, found in counts["formats"].items()
    ]
    caption = "Tokens of the training responses: what the same content costs in each format."
    header = ["Model", "Format", "examples", "tokens", "mean", "longest", "ratio to cheapest"]
    return Table("tokens", "Token overhead", caption, header, rows)


def paper_comparison(results: Results) -> Table:
    """Every published number beside ours."""
    names = results.names
    rows: list[list[Cell]] = []
    for each in results.published:
        number = each.published
        rows.append(
            [
                *(number.place, number.model, None if number.format == NONE else names.format(number.format)),
                *(names.method(number.method), None if number.lr == NONE else number.lr, METRIC_LABELS[number.metric]),
                *(number.value, NOT_RUN if each.ours is None else each.ours, each.difference, each.verdict),
            ]
        )
    caption = (
        "Published numbers (Okuda and Tsuruoka 2026) beside ours; the last column says whether the published one lies "
        "inside our interval. ASR counts scores of 3 or more, as the paper does."
    )
    header = ["Place", *RUN_HEADER, "metric", "paper", "ours", "difference", "paper in our interval"]
    return Table("paper_comparison", "Paper against ours", caption, header, rows)
