"""Tables with a row per run: safety, task quality, learning rates, leakage, the judge (the paper's tables 1, 2, 4)."""

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.paper import NOT_RUN
from formsafe.analysis.summary import PREFIX
from formsafe.core.records import NONE, Run
from formsafe.formats.registry import traits_of
from formsafe.report.registry import table
from formsafe.report.results import METRIC_LABELS, Results


@table("safety", "Safety")
def safety(results: Results) -> pd.DataFrame:
    """ASR is the share of harmful answers ({score}) among the scored ones, with its interval; best
    and worst case count every unscored answer as harmless or as harmful; refusals are found by keywords; n: scored
    answers.{levels}"""
    more = {} if results.threshold == 3 else {"asr_3": "ASR (≥ 3)"}
    more |= {"asr_4": "ASR (≥ 4)", "asr_5": "ASR (= 5)"}
    there = results.summary.metrics("asr_")  # none where the judge's scale is not the paper's
    levels = {"asr": "ASR"} | {name: label for name, label in more.items() if name in there}
    plain = {"asr_best": "best case", "asr_worst": "worst case", "unscored": "unscored", "mean_score": "mean score"}
    plain |= {"refusal_rate": "refusals"}
    found = run_table(results, results.conditions(), levels, plain)
    counts = [results.summary.get(run, "asr") for run in results.conditions()]
    return found.assign(n=[NOT_RUN if count is None else count.n for count in counts])


@table("safety", "Safety by source")
def safety_by_source(results: Results) -> pd.DataFrame:
    """ASR ({score}) by source of the harmful prompts, with intervals."""
    metrics = results.summary.metrics("asr[")
    sources = [results.names.source(name.removeprefix("asr[").removesuffix("]")) for name in metrics]
    return run_table(results, results.conditions(), dict(zip(metrics, sources, strict=True)))


@table("task", "Task quality")
def task(results: Results) -> pd.DataFrame:
    """Similarity of the answers to the reference in the trained format (tables 1 and 4 of the paper); content only:
    format marks taken off answer and reference, so that formats can be compared. ROUGE-L rewards the format itself. A
    method with the base model's values has learned nothing."""
    metrics = {name: METRIC_LABELS[name] for name in ("rouge_l", "sbert", "rouge_l_neutral", "sbert_neutral")}
    return run_table(results, results.conditions(), metrics, {"answer_tokens": "tokens per answer"})


@table("task", "Learning rates")
def learning_rates(results: Results) -> pd.DataFrame:
    """Safety and task quality over learning rates (table 2 of the paper), for formats that ran at several rates."""
    rates: dict[tuple[str, str], set[str]] = {}
    for run in results.conditions():
        rates.setdefault((run.model, run.format), set()).add(run.lr)
    swept = {key for key, found in rates.items() if len(found) > 1}
    models = {model for model, _ in swept}
    runs = []
    for run in results.conditions():
        if (run.model, run.format) in swept or (results.names.is_base(run) and run.model in models):
            runs.append(run)
    return run_table(results, runs, {"asr": "ASR", "sbert": "S-BERT"})


@table("task", "Format leakage")
def leakage(results: Results) -> pd.DataFrame:
    """Share of answers that have a format without being asked for it, as a whole or at least in part (JSON cut off at
    the limit of tokens is a part), to task prompts and to harmful ones. Refusals of one paragraph are plain text."""
    formats = [name.removeprefix("leak_strict[").removesuffix("]") for name in results.summary.metrics("leak_strict[")]
    marked, metrics = [name for name in formats if not traits_of(name).plain], {}
    for name, prompts, fit in product(marked, ("task", "harmful"), ("strict", "loose")):
        prefix, part = "harmful_" if prompts == "harmful" else "", "whole" if fit == "strict" else "part"
        metrics[f"{prefix}leak_{fit}[{name}]"] = f"{results.names.format(name)}, {prompts}, {part}"
    return run_table(results, results.conditions(), {}, metrics)


@table("judges", "Judge and refusals")
def judge(results: Results) -> pd.DataFrame:
    """How far to trust the judge: answers without a score, mean score, expected score from its own probabilities, and
    Cohen's kappa between its verdict (harmless) and refusals found by keywords, over the answers of all trainings; no
    kappa where one of the two says the same of every answer. A kappa near 0 speaks against the judge."""
    metrics = {"unscored": "unscored", "mean_score": "mean score", "expected_score": "expected score"}
    metrics |= {"refusal_rate": "refusals", "judge_refusal_kappa": "kappa"}
    return run_table(results, results.conditions(), metrics)


def run_table(
    results: Results, runs: Sequence[Run], metrics: Mapping[str, str], plain: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """A row per condition: its names, then metrics (name to column) with intervals, then those without.

    Numbers of examples have a column where the study varies them.
    """
    names, plain, rows = results.names, plain or {}, []
    for run in runs:
        format, lr, examples = (None if text == NONE else text for text in (run.format, run.lr, run.examples))
        labels = [names.model(run.model), format and names.format(format), names.method(run.method), lr, examples]
        bare = [cell.value if isinstance(cell, Estimate) else cell for cell in results.values(run, list(plain))]
        rows.append([*labels, *results.values(run, list(metrics)), *bare])
    header = ["Model", "Format", "Method", "LR", "examples", *metrics.values(), *plain.values()]
    found = pd.DataFrame(rows, columns=header, dtype=object)
    return found.drop(columns="examples") if found["examples"].isna().all() else found


@table("task", "Capability")
def capability(results: Results) -> pd.DataFrame:
    """What lm-eval measured (`snakemake capability`), with intervals from its standard errors: whether a model that
    answers less can still do anything."""
    metrics = {name: name.removeprefix(PREFIX) for name in results.summary.metrics(PREFIX)}
    measured = []
    for run in results.conditions():
        if any(results.summary.get(run, name) for name in metrics):
            measured.append(run)
    return run_table(results, measured, metrics)
