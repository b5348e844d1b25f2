"""Tables of the judges: agreement and survival, and their errors against people's labels."""

import math

import pandas as pd

from formsafe.analysis.estimates import Estimate
from formsafe.report.registry import table
from formsafe.report.results import Results, Row

CALIBRATION = ("sensitivity", "specificity", "kappa", "asr_judged", "asr_corrected", "difference_corrected")


@table(
    "judges",
    "Agreement of judges",
    "Cohen's kappa per pair and Krippendorff's alpha of all, over the study's answers, and the same of the people who "
    "labelled; below, each comparison of the study that another judge would answer differently.",
)
def agreement(results: Results) -> pd.DataFrame:
    """Pairs of judges, and comparisons that do not survive."""
    rows = [row for row in results.judges if row["figure"] in ("kappa", "alpha") and "|" in row["judge"]]
    rows += [row for row in results.judges if row["figure"] == "alpha"]
    rows += [row for row in results.judges if row["figure"].startswith("survives") and row["value"] == 0]
    return pd.DataFrame([_cells(row) for row in rows], columns=["who", "figure", "what", "value", "p (Holm)", "note"])


@table(
    "judges",
    "Judges against people",
    "Sensitivity, specificity and kappa against people's labels, weighted by how the sample was drawn, and ASR "
    "corrected by prediction-powered inference. A judge whose error differs between formats or methods confounds "
    "exactly the differences that the study is about.",
)
def calibration(results: Results) -> pd.DataFrame:
    """Empty without labels."""
    found = results.judges
    labelled = any(row["figure"] == "sensitivity" for row in found)
    rows = [row for row in found if row["figure"] in CALIBRATION or row["figure"].startswith("error_by")]
    rows = [row for row in rows if labelled and "|" not in row["judge"]]
    return pd.DataFrame([_cells(row) for row in rows], columns=["who", "figure", "what", "value", "p (Holm)", "note"])


def _cells(row: Row) -> list[object]:
    found, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
    value: object = found if math.isnan(low) else Estimate(found, low, high, int(row["n"]))
    note = row["note"] if isinstance(row["note"], str) else ""
    return [row["judge"], row["figure"].replace("_", " "), row["group"], value, row["p_holm"], note]
