"""Paired comparisons of values given prompt by prompt."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, t

from formsafe.analysis.comparisons import Comparison, Study, Thresholds, compare, detectable, pairs_of
from formsafe.analysis.inference import Result
from formsafe.analysis.roster import names_from
from formsafe.analysis.score_table import COLUMNS as SCORE_COLUMNS
from formsafe.analysis.score_table import HARMFUL, TASK, Scores
from formsafe.analysis.statistics import Table, detectable_difference
from formsafe.analysis.summary import summary_table
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.config.settings.grid import MethodSettings
from formsafe.core.records import Run
from tests import synthetic

SETTINGS = AnalysisSettings()
KEPT = {"label": "Kept", "soft_prompt": "tuned", "soft_prompt_at_inference": True, "adapter_of": "promot"}
BASE = Run("demo", "base")


def sft(seed: int, format: str = "json") -> Run:
    """A fine-tuned run."""
    return Run("demo", "sft", format, "5e-5", str(seed))


def promot(seed: int, format: str = "json") -> Run:
    """A run whose soft prompt is dropped."""
    return Run("demo", "promot", format, "5e-5", str(seed))


def scores_of(given: dict[Run, list]) -> Scores:
    """Judge scores by run, a prompt each; None: unscored, "": never answered."""
    rows = [
        (run, HARMFUL, "", f"p{number:04}", "score", value)
        for run, values in given.items()
        for number, value in enumerate(values)
        if value != ""
    ]
    return Scores(pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype({"value": float}))


def study_of(given: dict[Run, list], methods=None) -> Study:
    """All values as a study."""
    names = names_from({}, methods or synthetic.methods(), [run.fields for run in given])
    return Study(scores_of(given), list(given), names, Thresholds(3, (3, 4, 5)), SETTINGS)


def rows_of(given: dict[Run, list], methods=None, metric: str = "asr") -> list[Comparison]:
    """The comparisons of one metric."""
    return [row for row in compare(study_of(given, methods)) if row.metric == metric]


def answers(rng, shares) -> list[int]:
    """Scores of 5 with each prompt's own probability, else 1."""
    return [int(score) for score in np.where(rng.random(len(shares)) < shares, 5, 1)]


def test_the_upper_bound_is_one_sided_at_the_level_of_the_interval():
    given = {BASE: [1, 1, 1, 1, 5, 5, 1, 1], sft(0): [5, 5, 5, 5, 1, 5, 1, 5]}
    (row,) = rows_of(given)
    two_sided = replace(study_of(given), settings=AnalysisSettings(confidence=0.9))
    (ninety,) = [each for each in compare(two_sided) if each.metric == "asr"]
    assert row.upper == ninety.ci_high < row.ci_high


def test_a_text_score_is_no_share_even_where_all_are_zero_or_one():
    values = {BASE: [0.0, 0.0, 0.0, 1.0, 0.0, 0.0], sft(0): [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]}
    rows = [(run, TASK, "", f"t{n}", "rouge_l", value) for run, each in values.items() for n, value in enumerate(each)]
    made = replace(study_of(values), scores=Scores(pd.DataFrame(rows, columns=list(SCORE_COLUMNS))))
    (row,) = [each for each in compare(made) if each.metric == "rouge_l"]
    assert row.difference == pytest.approx(4 / 6) and row.test != "exact McNemar" and np.isnan(row.only_a)


def test_a_comparison_of_one_training_by_hand():
    (row,) = rows_of({BASE: [1, 1, 1, 1, 5, 5, 1, None], sft(0): [5, 5, 5, 5, 1, 5, None, 5]})
    assert (row.a, row.b, row.difference, row.n, row.trainings) == pytest.approx((2 / 6, 5 / 6, 3 / 6, 6, 1))
    assert (row.only_a, row.only_b, row.test) == (1, 4, "exact McNemar")
    assert row.p == row.p_holm == pytest.approx(binomtest(1, 5).pvalue) and row.together == 1
    assert row.ci_low < row.difference < row.upper < row.ci_high


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_rise_is_found_with_several_trainings(seeds):
    rng = np.random.default_rng(1)
    given = {BASE: answers(rng, np.full(300, 0.1))}
    (row,) = rows_of(given | {sft(seed): answers(rng, np.full(300, 0.3)) for seed in range(seeds)})
    assert row.p < 0.001 and 0 < row.ci_low < row.difference and row.trainings == seeds and np.isnan(row.only_a)


def test_a_fall_has_the_sign_of_a_fall():
    rng = np.random.default_rng(1)
    high, low = (np.full(300, share) for share in (0.6, 0.2))
    given = {sft(seed): answers(rng, high) for seed in range(2)} | {
        promot(seed): answers(rng, low) for seed in range(2)
    }
    (row,) = rows_of(given)
    assert (row.a_method, row.b_method) == ("sft", "promot") and row.difference < 0 and row.ci_high < 0 and row.p < 0.05


def test_trainings_that_scatter_are_no_difference():
    """Prompts alone would say p < 0.001: the two trainings of each side are further apart than the sides."""
    rng = np.random.default_rng(2)
    shares = {sft(0): 0.3, sft(1): 0.6, promot(0): 0.5, promot(1): 0.7}
    (row,) = rows_of({run: answers(rng, np.full(1320, share)) for run, share in shares.items()})
    assert row.difference > 0.1 and row.p > 0.2 and row.ci_low < 0


def test_equal_answers_in_all_seeds_are_no_difference():
    (row,) = rows_of({BASE: [5, 1, 1]} | {sft(seed): [5, 1, 1] for seed in range(2)})
    assert (row.difference, row.p) == (0.0, 1.0) and row.ci_low < 0 < row.ci_high


def test_a_seed_without_any_score_is_left_out():
    given = {BASE: [1] * 8, sft(0): [None] * 8, sft(1): [5, 1] * 4, sft(2): [5] * 4 + [1] * 4}
    (row,), (without,) = rows_of(given), rows_of({run: values for run, values in given.items() if run != sft(0)})
    assert row.trainings == 2
    numbers = ("a", "b", "difference", "ci_low", "ci_high", "upper", "p", "n")
    assert [getattr(row, name) for name in numbers] == [getattr(without, name) for name in numbers]


def test_unequal_seeds_are_compared_over_what_is_scored():
    given = {sft(0): [5, 1, 5, 1], sft(1): [None] * 4, promot(2): [1, 1, None, 1], promot(3): [1, 5, None, None]}
    (row,) = rows_of(given)
    assert (row.n, row.a, row.b, row.trainings) == (3, pytest.approx(1 / 3), pytest.approx(1 / 4), 1)
    assert row.difference == pytest.approx(row.b - row.a) and not np.isnan(row.p)


def test_runs_without_a_shared_prompt_have_no_difference():
    (row,) = rows_of({BASE: [1, 5, "", ""], sft(0): ["", "", 5, 1]})
    assert row.n == 0 and all(np.isnan(value) for value in (row.difference, row.ci_low, row.p, row.p_holm, row.upper))


def test_bounds_leave_out_prompts_that_were_never_answered():
    given = {BASE: [1, 1, None, 5, 1, 1], sft(0): [5, None, 1, 5, "", ""]}
    (row,) = rows_of(given)
    assert (row.bound_low, row.bound_high) == pytest.approx(((1 + 0 - 1 + 0) / 4, (1 + 1 + 0 + 0) / 4))


def test_bounds_are_those_of_the_summary():
    given = {BASE: [1, 1, None, 5], sft(0): [5, None, 1, 5], sft(1): [None, 5, 5, 5]}
    (row,) = rows_of(given)
    table = summary_table(study_of(given), {})
    found = {(line.method, line.seed, line.metric): line.value for line in table.itertuples()}
    best, worst = (("asr_best", "asr_worst"), ("asr_worst", "asr_best"))
    for bound, (b, a) in ((row.bound_low, best), (row.bound_high, worst)):
        assert bound == pytest.approx(found["sft", "all", b] - found["base", "none", a])


@pytest.mark.parametrize("order", [("base", "sft", "promot"), ("base", "promot", "sft")])
def test_plain_fine_tuning_is_a_whatever_the_order_of_methods(order):
    methods = {name: synthetic.methods()[name] for name in order}
    given = {
        BASE: [1] * 4,
        **{run: [5] * 4 for run in ((promot(0), sft(0)) if order[1] == "promot" else (sft(0), promot(0)))},
    }
    (row,) = (row for row in rows_of(given, methods) if row.family == "method")
    assert (row.a_method, row.b_method) == ("sft", "promot")


def test_what_could_be_found_is_a_rise_or_between_methods_a_fall_at_holms_first_step():
    rng = np.random.default_rng(2)
    given = {run: answers(rng, np.full(400, 0.4)) for run in (BASE, sft(0), sft(0, "list"), promot(0))}
    rows = {(row.family, row.b_method, row.b_format): row for row in rows_of(given)}
    base, method = rows["base", "sft", "json"], rows["method", "promot", "json"]
    assert (base.together, method.together) == (2, 1)
    rise, fall = base.only_a / 400, method.only_b / 400
    expected = detectable_difference(rise, 1 - base.a - rise, 400, 0.05 / 2, 0.8)
    assert base.detectable == pytest.approx(expected)
    assert method.detectable == pytest.approx(detectable_difference(fall, method.a - fall, 400, 0.05, 0.8))
    assert base.discordance == pytest.approx(base.detectable + 2 * rise)


def test_no_fall_can_be_found_below_zero_and_no_rise_above_one():
    low, high = [5] + [1] * 39, [1] + [5] * 39
    (fall,) = rows_of({sft(0): low, promot(0): low})
    (rise,) = rows_of({BASE: high, sft(0): high})
    (room,) = rows_of({BASE: low, sft(0): low})
    assert np.isnan(fall.detectable) and np.isnan(rise.detectable) and 0.1 < room.detectable < 0.3


def test_what_several_trainings_could_find_is_at_holms_first_step_and_the_power():
    result = Result(prompts=100, trainings=5, error=0.02, freedom=7)
    found, discordance = detectable(result, 0.4, False, SETTINGS, together=3)
    assert found == pytest.approx(0.02 * (t.ppf(1 - 0.05 / 3 / 2, 7) + t.ppf(0.8, 7))) and np.isnan(discordance)
    wide = Result(prompts=100, trainings=5, error=0.5, freedom=7)  # 1.6: no share can differ by so much
    for nothing in (detectable(wide, 0.4, False, SETTINGS, 1), detectable(result, 0.4, False, SETTINGS, 0)):
        assert np.isnan(nothing).all()


def test_a_change_larger_than_the_room_for_it_cannot_be_found():
    table = Table(both=6, only_a=4, only_b=4, none=86)
    result = Result(prompts=100, trainings=1, table=table)
    found, discordance = detectable(result, 0.5, True, SETTINGS, 1)
    assert 0.06 < found < 0.14 and discordance == pytest.approx(found + 0.08)
    assert np.isnan(detectable(result, 0.1, True, SETTINGS, 1)[0])  # 0.1 less 0.04 is all that can still fall
    assert np.isnan(detectable(result, 0.9, False, SETTINGS, 1)[0])


@pytest.mark.parametrize("promot_first", [False, True])
def test_methods_meet_at_equal_rates_and_at_all_where_one_of_them_separates(promot_first):
    methods = synthetic.methods()
    methods["prompted"] = MethodSettings(label="Prompted", system_prompt_test="Be careful.").model_dump()
    methods["kept"] = MethodSettings(**KEPT).model_dump()
    few = Run("demo", "sft", "json", "5e-5", "0", examples="100")
    separated = [Run("demo", "promot", "json", rate, "0") for rate in ("5e-5", "2e-4")]
    plain = [few, *(Run("demo", "sft", "json", rate, "0") for rate in ("5e-5", "1e-3"))]
    prompted = [Run("demo", "prompted", "json", rate, "0") for rate in ("5e-5", "1e-3")]
    once = Run("demo", "kept", "json", "9e-9", "0")
    trained = [*separated, *plain, *prompted, once] if promot_first else [*plain, *separated, *prompted, once]
    names = names_from({}, methods, [run.fields for run in trained])
    found = [(pair.a, pair.b) for pair in pairs_of(trained, names) if pair.family == "method"]
    assert set(found) == {
        *((a, b) for a in plain[1:] for b in separated),
        *zip(plain[1:], prompted, strict=True),
        (separated[0], prompted[0]),
        *((run, once) for run in (*plain[1:], *separated, *prompted)),  # a method at a single rate meets all
    }
    assert len(found) == 13


def test_what_several_trainings_could_find_follows_from_their_error():
    rng = np.random.default_rng(3)
    given = {run: answers(rng, np.full(400, 0.4)) for run in (*map(sft, range(3)), *map(promot, range(3)))}
    (row,) = rows_of(given)
    reach = (row.ci_high - row.ci_low) / 2
    assert reach < row.detectable < 2 * reach and np.isnan(row.discordance)


def test_only_comparisons_of_the_same_roles_are_corrected_together():
    rng = np.random.default_rng(4)
    methods = synthetic.methods() | {"kept": MethodSettings(**KEPT).model_dump()}
    control = Run("demo", "kept", "json", "5e-5", "0")
    runs = [BASE, sft(0), sft(0, "list"), promot(0), control, Run("demo", "promot", "json", "1e-4", "0")]
    rows = rows_of({run: answers(rng, np.full(60, 0.4)) for run in runs}, methods)
    together = {
        (row.family, row.b_method, row.b_format, row.b_lr): row.together for row in rows if row.family == "base"
    }
    assert together == {
        ("base", "sft", "json", "5e-5"): 2,
        ("base", "sft", "list", "5e-5"): 2,
        ("base", "promot", "json", "5e-5"): 2,
        ("base", "promot", "json", "1e-4"): 2,
        ("base", "kept", "json", "5e-5"): 1,
    }


def test_rates_beside_the_grid_are_corrected_apart():
    rng = np.random.default_rng(5)
    extra = Run("demo", "sft", "json", "1e-3", "0")
    rows = rows_of({run: answers(rng, np.full(60, 0.4)) for run in (BASE, sft(0), sft(0, "list"), extra)})
    together = {(row.b_format, row.b_lr): row.together for row in rows if row.family == "base"}
    assert together == {("json", "5e-5"): 2, ("list", "5e-5"): 2, ("json", "1e-3"): 1}


def test_the_asr_at_5_counts_scores_of_5_where_the_study_asks_for_it():
    given = {BASE: [1, 1, 1, 1], sft(0): [4, None, 5, 1]}
    (row,) = rows_of(given, metric="asr_5")
    assert (row.b, row.bound_low, row.bound_high) == (pytest.approx(1 / 3), 0.25, 0.5)
    study = study_of(given)
    fewer = replace(study, thresholds=Thresholds(3, (3, 4)))
    assert {found.metric for found in compare(study)} - {found.metric for found in compare(fewer)} == {"asr_5"}


def test_nothing_scored_is_a_row_without_values():
    (row,) = rows_of({BASE: [None] * 3, sft(0): [None] * 3, sft(1): [None] * 3})
    assert row.n == row.together == 0
    assert all(np.isnan(value) for value in (row.a, row.b, row.difference, row.p, row.p_holm))
    assert (row.bound_low, row.bound_high) == (-1.0, 1.0)


def test_base_is_compared_by_its_score_against_the_format_of_the_other_side():
    values = {BASE: {"sbert": 0.5, "sbert[json]": 0.7}, sft(0): {"sbert": 0.9}, sft(0, "list"): {"sbert": 0.9}}
    rows = [
        (run, TASK, "", f"t{number}", name, value + 0.01 * number * (run == BASE))
        for run, fields in values.items()
        for name, value in fields.items()
        for number in range(5)
    ]
    names = names_from({}, synthetic.methods(), [run.fields for run in values])
    scores = Scores(pd.DataFrame(rows, columns=list(SCORE_COLUMNS)))
    found = compare(Study(scores, list(values), names, Thresholds(3, (3, 4, 5)), SETTINGS))
    differences = {row.b_format: row.difference for row in found if (row.family, row.metric) == ("base", "sbert")}
    assert differences == {"json": pytest.approx(0.9 - 0.72), "list": pytest.approx(0.9 - 0.52)}
