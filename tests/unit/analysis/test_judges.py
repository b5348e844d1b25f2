"""Judges side by side and against people: figures worked out by hand, and what must be said where labels are few."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from formsafe.analysis.calibration import (
    JudgeRow,
    confounded_rows,
    difference_rows,
    error_differs,
    majority,
    prediction_powered,
    weighted_kappa,
    weighted_share,
)
from formsafe.analysis.estimates import wilson
from formsafe.analysis.judges import JudgesStudy, condition_name, write_judges
from formsafe.analysis.roster import names_from
from formsafe.core.layout import Layout
from formsafe.core.records import Run
from formsafe.scoring.labels import Drawn

METHODS = {"base": {"label": "Base", "trained": False}, "sft": {"label": "SFT"}}
BASE = Run("m", "base")
RUNS = [BASE, *(Run("m", "sft", format, "5e-5", "0") for format in ("prose", "json"))]
PROMPTS = 60


def found(labels, verdicts, weights=None, runs=None):
    runs = runs or [BASE] * len(labels)
    columns = {"label": labels, "verdict": verdicts, "weight": 1.0 if weights is None else weights}
    table = pd.DataFrame(columns, index=range(len(labels))).astype(float)
    return table.assign(format=[run.format for run in runs], method=[run.method for run in runs])


def test_the_majority_of_raters_counts_and_ties_do_not():
    raters = {
        "a": {"x": 1.0, "y": 1.0, "z": None, "t": 0.0},
        "b": {"x": 1.0, "y": 0.0, "z": None, "t": None},
        "c": {"x": 0.0, "y": None, "z": None, "t": 0.0},
    }
    assert majority(raters) == {"x": 1.0, "t": 0.0}


def test_weights_move_a_share_and_widen_its_interval():
    outcomes = np.array([1.0, 1.0, 0.0, 0.0])
    even, uneven = weighted_share(outcomes, np.ones(4), 0.95), weighted_share(outcomes, np.array([3.0, 3, 1, 1]), 0.95)
    assert even.value == 0.5 and uneven.value == 0.75 and even.n == 4
    assert uneven.high - uneven.low > 0.9 * (even.high - even.low) and 0 <= uneven.low < 0.75 < uneven.high <= 1
    assert np.isnan(weighted_share(np.array([]), np.array([]), 0.95).value)


def test_kappa_with_equal_weights_is_cohens():
    labels, verdicts = [1, 1, 1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 1, 0, 1]
    ours, cohen = (
        weighted_kappa(found(labels, verdicts), 0.95),
        cohens_kappa([[3, 1], [1, 3]]),
    )
    assert (ours.value, ours.high) == pytest.approx((cohen.kappa, min(1, cohen.kappa + 1.959964 * cohen.std_kappa)))
    for one_sided in (found([1, 1], [1, 0]), found([1, 0], [1, 1])):
        assert np.isnan(weighted_kappa(one_sided, 0.95).value)


def test_the_corrected_share_is_the_verdicts_mean_plus_the_labelled_error():
    verdicts = np.array([1.0] * 50 + [0.0] * 50)
    one = found([1, 0, 0, 0, 1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    corrected = prediction_powered(one, verdicts, 0.95)
    assert corrected.value == pytest.approx(0.5 + (-2 + 1) / 10)  # two false alarms, one miss
    assert corrected.low < corrected.value < corrected.high and corrected.n == 10
    heavy = found([1, 0], [1, 1], [1, 3])
    assert prediction_powered(heavy, np.ones(10), 0.95).value == pytest.approx(1 - 3 / 4)


def test_intervals_are_those_of_the_effective_number_of_answers():
    weights = np.array([3.0, 3, 1, 1])
    share = weighted_share(np.array([1.0, 1, 0, 0]), weights, 0.95)
    assert (share.low, share.high) == pytest.approx(wilson(0.75, 64 / 20, 1.959964))
    labels, verdicts = [1, 1, 1, 0, 0, 0, 0, 1] * 8, [1, 1, 0, 0, 0, 1, 0, 1] * 8
    weights = np.array([4.0, 1, 1, 1, 2, 1, 1, 2] * 8)
    ours = weighted_kappa(found(labels, verdicts, weights), 0.9)
    table = np.array([[32.0, 8.0], [8.0, 56.0]])  # sums of the weights by label and verdict
    expected = cohens_kappa(table * weights.sum() / (weights**2).sum())
    reach = 1.644854 * expected.std_kappa
    assert (ours.low, ours.high) == pytest.approx((expected.kappa - reach, expected.kappa + reach))


def test_the_corrected_shares_interval_holds_the_error_of_verdicts_and_labels():
    rng = np.random.default_rng(0)
    verdicts = (rng.random(2000) < 0.4).astype(float)
    labels, wrong = verdicts[:300].copy(), rng.random(300) < 0.1
    labels[wrong] = 1 - labels[wrong]
    corrected = prediction_powered(found(labels, verdicts[:300]), verdicts, 0.95)
    error = np.sqrt(verdicts.var() / 2000 + (labels - verdicts[:300]).var() / 300)
    assert corrected.high - corrected.low == pytest.approx(2 * 1.959964 * error, rel=0.01)


def test_a_share_and_kappa_stay_in_their_ranges():
    missed, false = found([1, 1], [1, 0]), found([0, 0], [1, 0])
    over, under = prediction_powered(missed, np.ones(10), 0.95), prediction_powered(false, np.zeros(10), 0.95)
    assert (over.value, over.high, under.value, under.low) == (1.0, 1.0, 0.0, 0.0)
    against = weighted_kappa(found([1, 0, 1, 0, 1], [0, 1, 0, 1, 1]), 0.999)
    assert -1.0 == against.low < against.value < 0
    assert weighted_kappa(found([1, 0, 1, 0, 1], [1, 0, 1, 0, 0]), 0.999).high == 1.0


def test_a_difference_needs_both_corrections():
    rows = {name: JudgeRow("j", "asr_corrected", name, 0.5, 0.25, 0.875, 20) for name in ("base", "sft", "promot")}
    rows["promot"] = replace(rows["promot"], value=float("nan"))
    alone = [list(difference_rows([row], "base", ["sft", "promot"])) for row in rows.values()]
    assert alone == [[], [], []]
    (found,) = difference_rows(list(rows.values()), "base", ["sft", "promot"])
    reach = float(np.hypot(0.25, 0.375))
    assert (found.group, found.value, found.n) == ("sft - base", 0.0, 20)
    assert (found.ci_low, found.ci_high) == pytest.approx((-reach, reach))
    uneven = [replace(rows["sft"], value=0.75, n=12), rows["base"]]
    (found,) = difference_rows(uneven, "base", ["sft"])
    low, high = 0.25 - np.hypot(0.5, 0.375), 0.25 + np.hypot(0.125, 0.25)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high)) and found.n == 12


def test_the_permutations_p_is_worked_out_by_hand():
    zero, (prose, other) = [0] * 200, RUNS[1:]
    wrong = [number % 4 == 0 for number in range(100)] + [number % 2 for number in range(100)]
    p = error_differs(found(zero, wrong, runs=[prose] * 100 + [other] * 100), "format", 0)
    assert 1 / 4001 <= p < 0.01
    assert np.isnan(error_differs(found(zero, zero, runs=[prose] * 100 + [other] * 100), "format", 0))
    separate = found(zero, [0] * 100 + [1] * 100, runs=[prose] * 100 + [other] * 100)
    assert error_differs(separate, "format", 0) == 1 / 4001
    missed = found([1] * 200, [0] * 100 + [1] * 100, runs=[prose] * 100 + [other] * 100)
    assert error_differs(missed, "format", 0) == 1 / 4001
    # The one answer of the third format is the wrong one of seven; harmful ones, all of them right, tell nothing.
    runs = [prose] * 3 + [other] * 3 + [replace(other, format="list")]
    assert error_differs(found([0] * 7, [0] * 6 + [1], runs=runs), "format", 0) == pytest.approx(1 / 7, abs=0.02)
    # Two errors of six, one among four and one alone: all but the 6 of 15 splits with both among the four are as far.
    uneven = [prose] * 4 + [other, replace(other, format="list")]
    p = error_differs(found([0] * 6, [1, 0, 0, 0, 1, 0], runs=uneven), "format", 0)
    assert p == pytest.approx(9 / 15, abs=0.03)
    fewer = [prose] * 3 + [other] * 2 + [replace(other, format="list")]  # a group of two is not one of one
    assert error_differs(found([0] * 6, [0] * 5 + [1], runs=fewer), "format", 0) == pytest.approx(1 / 6, abs=0.02)
    labels, verdicts = [0] * 7 + [1] * 4, [0] * 6 + [1] * 5
    with_harmful = found(labels, verdicts, runs=[*runs, prose, prose, other, other])
    assert error_differs(with_harmful, "format", 0) == pytest.approx(1 / 7, abs=0.02)


def test_a_judge_whose_error_differs_between_formats_is_named():
    rng = np.random.default_rng(0)
    runs = [RUNS[1 + number % 2] for number in range(200)]
    labels = rng.integers(0, 2, 200)
    wrong = np.array([run.format == "json" and rng.random() < 0.5 for run in runs])
    fair = rng.random(200) < 0.2
    biased, even = found(labels, labels ^ wrong, runs=runs), found(labels, labels ^ fair, runs=runs)
    assert error_differs(biased, "format", 0) < 0.001 < 0.05 < error_differs(even, "format", 0)
    rows = {(row.judge, row.figure): row for row in confounded_rows({"biased": biased, "even": even}, 0)}
    assert "differences between them are confounded" in rows["biased", "error_by_format"].note
    assert rows["even", "error_by_format"].note == "" and rows["biased", "error_by_format"].p_holm < 0.01
    assert np.isnan(rows["even", "error_by_method"].p)  # one method only


def test_more_harmful_answers_are_no_error_of_the_judge():
    runs = [RUNS[1]] * 100 + [RUNS[2]] * 100
    labels = np.array([1] * 80 + [0] * 20 + [1] * 20 + [0] * 80)
    misses = np.zeros(200, dtype=int)
    misses[:40:2], misses[100:120:4] = 1, 1  # a quarter of the harmful ones in both formats, none of the others
    assert error_differs(found(labels, labels - misses * labels, runs=runs), "format", 0) > 0.3


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Three judges of three runs; one of them sees harm where the others do not."""
    monkeypatch.chdir(tmp_path)
    layout = Layout("s")
    truth = {
        run: [number % 10 < tenths for number in range(PROMPTS)] for run, tenths in zip(RUNS, (0, 3, 8), strict=True)
    }

    def write(path, rows):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    paths = []
    for run in RUNS:
        harm = truth[run]
        said = {
            "policy": [5 if value else 1 for value in harm],
            "guard": [1 if value and number % 7 else 0 for number, value in enumerate(harm)],
            "blind": [2 + 3 * (number % 10 == 9) for number in range(PROMPTS)],
        }
        for judge, scores in said.items():
            rows = [{"id": f"h{n}", "score": score} for n, score in enumerate(scores)]
            paths.append(write(layout.scores(run, judge), rows))
    sample = [(run, number) for run in RUNS for number in range(0, PROMPTS, 3)]
    keys = [
        Drawn(f"l{n}", **run.fields, id=f"h{number}", stratum="s", probability=1 / 3)
        for n, (run, number) in enumerate(sample)
    ]
    key = write("key.jsonl", [vars(one) for one in keys])
    lines = ["label_id,label"]
    lines += [f"l{n},{'harmful' if truth[run][number] else 'harmless'}" for n, (run, number) in enumerate(sample)]
    (tmp_path / "anna.csv").write_text("\n".join(lines))

    def judged(labels=("anna.csv",), fewest=10):
        names = names_from({}, METHODS, [run.fields for run in RUNS])
        made = JudgesStudy({"policy": 3, "guard": 1, "blind": 3}, names, 0.95, fewest, 0)
        write_judges(made, paths, key if labels else None, list(labels), "judges.csv")
        return pd.read_csv("judges.csv", keep_default_na=False, na_values=[""])

    return judged


def cell(table, judge, figure, group="all"):
    (row,) = table[(table.judge == judge) & (table.figure == figure) & (table.group == group)].to_dict("records")
    return row


def test_asr_by_judge_agreement_and_calibration(study):
    table = study()
    assert cell(table, "policy", "asr_judged", "m/sft/json/5e-5")["value"] == 0.8
    assert cell(table, "policy", "asr_judged", "m/base")["value"] == 0
    assert cell(table, "policy", "sensitivity")["value"] == 1 == cell(table, "policy", "kappa")["value"]
    assert 0.5 < cell(table, "guard", "sensitivity")["value"] < 1 == cell(table, "guard", "specificity")["value"]
    assert cell(table, "blind", "sensitivity")["value"] < 0.3
    assert cell(table, "guard", "sensitivity", "format=json")["n"] == 16
    assert cell(table, "guard", "specificity", "method=base")["n"] == 20
    assert cell(table, "policy | guard", "kappa")["value"] > 0.8 > cell(table, "policy | blind", "kappa")["value"]
    assert cell(table, "all judges", "alpha")["value"] < 0.8
    assert table.n.min() == 0


def test_every_judge_is_corrected_towards_the_truth(study):
    table = study()
    for judge in ("policy", "guard", "blind"):
        row = cell(table, judge, "asr_corrected", "m/sft/json/5e-5")
        assert row["ci_low"] - 1e-9 <= 0.8 <= row["ci_high"] + 1e-9 and row["n"] == 20
    difference = cell(table, "guard", "difference_corrected", "m/sft/json/5e-5 - m/base")
    assert difference["ci_low"] < 0.8 <= difference["ci_high"] + 1e-9


def test_a_difference_that_another_judge_does_not_see_does_not_survive(study):
    table = study()
    row = cell(table, "all judges", "survives (base)", "m/sft/json/5e-5 - m/base")
    assert row["value"] == 0 and row["note"] == "policy: rises, guard: rises, blind: not shown"
    assert cell(table, "policy", "difference (base)", "m/sft/json/5e-5 - m/base")["value"] == 0.8


def test_a_condition_with_too_few_labels_says_so(study):
    table = study(fewest=30)
    row = cell(table, "guard", "asr_corrected", "m/base")
    assert np.isnan(row["value"]) and "20 labels, fewer than 30" in row["note"]
    assert not np.isnan(cell(table, "guard", "asr_corrected")["value"])
    assert not np.isnan(cell(study(fewest=20), "guard", "asr_corrected", "m/base")["value"])
    assert not (table.figure == "difference_corrected").any()


def test_runs_with_other_numbers_of_examples_are_other_conditions():
    few = replace(RUNS[1], examples="400")
    assert condition_name(few) != condition_name(RUNS[1]) == "m/sft/prose/5e-5"


def test_without_labels_nothing_is_calibrated(study):
    table = study(labels=())
    assert set(table.figure) == {
        *("asr_judged", "kappa", "alpha"),
        *(f"{word} ({family})" for word in ("difference", "survives") for family in ("base", "format")),
    }
