"""Loss curves in figures."""

import math

import numpy as np
import pytest

from formsafe.analysis.curves import Curve, read_curves, write_curves
from formsafe.analysis.score_table import read_csv
from formsafe.config.grid import Run
from tests import synthetic

HEADER = ",".join([*synthetic.LOSS_COLUMNS, "learning_rate", "grad_norm"]) + "\n"


def curve(loss) -> Curve:
    return Curve(Run("m", "sft", "json", "5e-5", "0"), "adapter", "all", np.arange(1.0, len(loss) + 1), np.array(loss))


def test_half_way_of_an_exponential():
    steps = np.arange(1, 101)
    found = curve(3 * np.exp(-(steps - 1) / 10.0))
    assert found.halfway_step == 8  # exp(-7 / 10) < 1/2 < exp(-6 / 10)


def test_half_way_is_not_the_first_good_batch():
    """A fall of a quarter nat over 90 steps, with the noise of a batch: half of it is done at step 15."""
    rng, steps = np.random.default_rng(0), np.arange(90)
    falling = 1.9 + 0.25 * np.exp(-steps / 20)
    found = [curve(falling + rng.normal(0, 0.06, 90)).halfway_step for _ in range(200)]
    assert 12 <= np.median(found) <= 18 and np.quantile(found, 0.1) > 6


def test_a_curve_that_does_not_fall_has_no_half_way():
    assert math.isnan(curve([1.0, 1.0, 1.0]).halfway_step)
    assert math.isnan(curve([1.0, 1.5, 2.0]).halfway_step)


def test_area_is_the_trapezoids():
    assert curve([2.0, 1.0, 0.0]).area == pytest.approx(2.0)


def test_one_step_is_a_curve_too(tmp_path):
    path = tmp_path / "runs/model=m/method=sft/format=prose/lr=5e-5/seed=0/adapter/loss.csv"
    path.parent.mkdir(parents=True)
    path.write_text(HEADER + "1,1.0,2.5,,,2.5,2.4,0,0,100,80,5e-5,1.0\n")
    write_curves([str(path)], str(tmp_path / "curves.csv"))
    rows = read_csv(tmp_path / "curves.csv")
    assert [row["part"] for row in rows] == ["all", "content", "interior"]
    assert [row["mean"] for row in rows] == ["2.5", "2.5", "2.4"]
    assert rows[0]["mean"] == "2.5" and rows[0]["halfway_step"] == ""


def test_format_falls_before_content_in_both_stages(tmp_path):
    files = synthetic.write_study(tmp_path, [Run("demo", "promot", "json", "5e-5", "0")], harmful=2, task=2)
    found = {(curve.stage, curve.part): curve for curve in read_curves(files["losses"])}
    assert set(found) == {
        (stage, part)
        for stage in ("adapter", "soft_prompt")
        for part in ("all", "format", "mixed", "content", "interior")
    }
    assert found["adapter", "format"].halfway_step < found["adapter", "interior"].halfway_step
    assert found["soft_prompt", "all"].run.method == "none"
