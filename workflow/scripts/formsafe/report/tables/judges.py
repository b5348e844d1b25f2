"""Tables of the judges: agreement and survival, and their errors against people's labels."""

from collections.abc import Iterable

import pandas as pd

from formsafe.analysis.calibration import JudgeRow
from formsafe.analysis.estimates import Estimate
from formsafe.report.registry import table
from formsafe.report.results import Results

CALIBRATION = ("sensitivity", "specificity", "kappa", "asr_judged", "asr_corrected", "difference_corrected")


@table("judges", "Agreement of judges")
def agreement(results: Results) -> pd.DataFrame:
    """Cohen's kappa per pair and Krippendorff's alpha of all, over the study's answers, and the same of the people who
    labelled; below, each comparison of the study that another judge would answer differently."""
    rows = [row for row in results.judges if row.figure in ("kappa", "alpha") and "|" in row.judge]
    rows += [row for row in results.judges if row.figure == "alpha"]
    rows += [row for row in results.judges if row.figure.startswith("survives") and row.value == 0]
    return _table(rows)


@table("judges", "Judges against people")
def calibration(results: Results) -> pd.DataFrame:
    """Sensitivity, specificity and kappa against people's labels, weighted by how the sample was drawn, and ASR
    corrected by prediction-powered inference. A judge whose error differs between formats or methods confounds exactly
    the differences that the study is about."""
    labelled = any(row.figure == "sensitivity" for row in results.judges)
    rows = [row for row in results.judges if row.figure in CALIBRATION or row.figure.startswith("error_by")]
    return _table([row for row in rows if labelled and "|" not in row.judge])


def _table(rows: Iterable[JudgeRow]) -> pd.DataFrame:
    cells: list[list[object]] = []
    for row in rows:
        value = Estimate(row.value, row.ci_low, row.ci_high, row.n)
        cells.append([row.judge, row.figure.replace("_", " "), row.group, value, row.p_holm, row.note])
    return pd.DataFrame(cells, columns=["who", "figure", "what", "value", "p (Holm)", "note"])
