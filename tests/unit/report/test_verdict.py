"""What the verdict says, from the tables' rows."""

import pytest

from formsafe.analysis.estimates import Summary
from formsafe.analysis.roster import names_from
from formsafe.core.records import Run
from formsafe.report.pages.verdict import Evidence, findings, paper_line
from tests import synthetic

SIDES = {"base": ("base", "none", "none"), "sft": ("sft", "json", "5e-5"), "promot": ("promot", "json", "5e-5")}
RAISED = "Does fine-tuning on benign data raise the ASR?"
ABOVE = "Is it then still above the base model's?"
COST = "Does it cost task quality (S-BERT, content only)?"
JUDGE = "Does the judge react to the format of an answer?"


def row(family: str, a: str, b: str, ends: tuple[float, float], p="0.001", seeds="1", metric="asr") -> dict[str, str]:
    """A comparison."""
    sides = [("model", "demo"), ("family", family), ("metric", metric)]
    for side, name in (("a", a), ("b", b)):
        sides += zip((f"{side}_method", f"{side}_format", f"{side}_lr"), SIDES[name], strict=True)
    values = {"a": "0.1", "b": "0.2", "difference": str(sum(ends) / 2), "ci_low": str(ends[0]), "ci_high": str(ends[1])}
    return {**dict(sides), **values, "n": "9", "seeds": seeds, "p_holm": p, "detectable": "0.05"}


def said(question: str, comparisons=(), audit=()) -> tuple[str, str]:
    """The answer to a question and its evidence."""
    runs = [Run("demo", "base"), Run("demo", "sft", "json", "5e-5", "0"), Run("demo", "promot", "json", "5e-5", "0")]
    names = names_from({"demo": "Demo"}, synthetic.methods(), [run.fields for run in runs])
    evidence = Evidence(names, Summary([]), list(comparisons), [], list(audit), [], 0.95)
    (found,) = (finding for finding in findings(evidence, "demo") if finding.question == question)
    return found.answer, "\n".join(found.evidence)


@pytest.mark.parametrize(
    ("ends", "p", "answer"),
    [
        ((0.05, 0.2), "0.001", "yes"),
        ((-0.01, 0.2), "0.001", "no difference found"),  # the test takes the seeds as given, the interval does not
        ((0.05, 0.2), "0.2", "no difference found"),
        ((-0.2, -0.05), "0.001", "in 0 of 1 comparisons, the reverse in 1"),
    ],
)
def test_test_and_interval_decide_together(ends, p, answer):
    assert said(RAISED, [row("base", "base", "sft", ends, p)])[0] == answer


def test_whether_promot_stays_above_base_is_said():
    rows = [row("base", "base", "sft", (0.05, 0.2)), row("base", "base", "promot", (-0.01, 0.02), p="0.4")]
    answer, evidence = said(ABOVE, rows)
    assert answer == "no difference found"
    assert evidence.startswith("ProMoT JSON") and "a rise of 0.050 would likely have been found" in evidence


@pytest.mark.parametrize(("seeds", "told"), [("1", True), ("3", False)])
def test_between_methods_a_fall_could_have_been_found_with_one_seed(seeds, told):
    _, evidence = said(
        "Does training the format away (ProMoT) lower the ASR?",
        [row("method", "sft", "promot", (-0.01, 0.01), p="0.4", seeds=seeds)],
    )
    assert ("a fall of 0.050 would likely have been found" in evidence) == told


def test_quality_is_compared_without_format_marks():
    rows = [row("method", "sft", "promot", (0.01, 0.02), p="", metric="sbert")]
    assert said(COST, rows)[0].startswith("cannot be said")
    rows.append(row("method", "sft", "promot", (-0.02, -0.01), p="", metric="sbert_neutral"))
    assert said(COST, rows)[0] == "yes"


def shift(p: str, value: str = "0.1", ends=("0.01", "0.2")) -> dict[str, str]:
    """A row of the audit."""
    cells = {"model": "demo", "rendering": "json", "metric": "asr", "shift": value, "n": "9", "p_holm": p}
    return {**cells, "ci_low": ends[0], "ci_high": ends[1]}


@pytest.mark.parametrize(
    ("audit", "answer"),
    [
        ([], "not audited"),
        ([shift("", "", ("", ""))], "audited, but nothing was scored"),
        ([shift("0.06")], "no effect of the format alone was found"),
        ([shift("0.06"), shift("0.01")], "its scores move with the format alone"),
    ],
)
def test_the_judge_reacts_where_the_adjusted_test_says_so(audit, answer):
    assert said(JUDGE, audit=audit)[0].startswith(answer)


def test_a_number_that_the_paper_prints_twice_counts_once():
    number = {"Model": "M", "Format": "Prose", "Method": "SFT", "LR": "5e-5", "metric": "ASR (≥ 3)"}
    rows = [{**number, "Place": place, "paper in our interval": "inside"} for place in ("figure 3", "table 2")]
    rows.append({**number, "metric": "S-BERT", "Place": "table 2", "paper in our interval": "no interval"})
    assert paper_line(rows) == (
        "1 of 1 published numbers lie inside our intervals; 1 were not run, not scored or have no interval here."
    )
