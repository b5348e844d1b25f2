"""Figures of arms: what is drawn is what the summary says."""

import matplotlib
import pytest

from formsafe.config.settings.grid import MethodSettings
from formsafe.core.records import Run
from formsafe.report.figures.arms import pareto_front
from formsafe.report.figures.style import RC
from formsafe.report.registry import entries
from tests import synthetic
from tests.unit.report.made import make


def drawn(name, made):
    with matplotlib.rc_context(RC):
        found = entries("figures")[name].make(made.results(), "demo")
        found.draw_without_rendering()
    return found


def test_the_front_is_what_no_other_point_beats():
    points = [(0.1, 0.5), (0.2, 0.8), (0.2, 0.7), (0.3, 0.8), (0.4, 0.9), (0.05, 0.4), (0.1, 0.5)]
    assert pareto_front(points) == [(0.05, 0.4), (0.1, 0.5), (0.2, 0.8), (0.4, 0.9)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("arms"), [*synthetic.grid(), Run("demo", "kept", "json", "5e-5", "0")])
    kept = MethodSettings(label="Kept", soft_prompt="tuned", soft_prompt_at_inference=True, adapter_of="promot")
    made.methods["kept"] = kept.model_dump()
    return made


def test_the_ladder_has_a_dot_per_training_and_a_line_per_method(made):
    axes = drawn("ladder", made).axes[0]
    dots = {tuple(point) for line in axes.get_lines() if line.get_linestyle() == "None" for point in line.get_xydata()}
    results = made.results()
    trained = [run for run in made.runs if run.method in ("sft", "promot")]
    assert {y for _, y in dots} >= {results.summary.get(run, "asr").value for run in trained}
    assert len({x for x, _ in dots}) == 3 and len(axes.get_xticks()) == 3
    fitted = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
    assert len(fitted) == 2 and {line.get_marker() for line in fitted} == {"None"}  # their ends are no trainings


def test_the_ladder_is_by_measured_bits_where_every_format_was_measured(made, tmp_path):
    table = tmp_path / "formality.csv"
    rows = ["model,format,added_bits", "demo,prose,0.0", "demo,list,4.5", "demo,json,6.5", "other,json,1.0"]
    for known, expected, unit in ((rows, {0.0, 4.5, 6.5}, "bit"), (rows[:-2], {0.0, 3.0, 6.0}, "rank")):
        table.write_text("\n".join(known) + "\n")
        found = entries("figures")["ladder"].make(made.results(formality=str(table)), "demo")
        (axes,) = found.axes
        dots = {x for line in axes.get_lines() if line.get_linestyle() == "None" for x in line.get_xdata()}
        assert dots == expected
        texts = [text.get_text() for legend in found.legends for text in legend.get_texts()]
        assert texts and all(f"per {unit})" in text for text in texts)


def test_the_ladder_has_a_line_per_number_of_examples(tmp_path):
    more = [Run("demo", "sft", format, "5e-5", "0", examples="400") for format in ("prose", "json")]
    texts = drawn("ladder", make(tmp_path, synthetic.grid(extra=more), audit=False)).legends[0].get_texts()
    assert [text.get_text().partition(" (")[0] for text in texts] == ["SFT", "SFT 400 examples", "ProMoT"]


def test_controls_stand_below_the_methods_that_they_are_compared_with(made):
    labels = [text.get_text() for text in drawn("controls", made).axes[0].get_yticklabels()]
    json = labels[labels.index("JSON") + 1 :]
    assert json == ["SFT", "ProMoT", "Kept"]


@pytest.mark.parametrize("name", ["ladder", "controls", "pareto", "first_token", "refusal_depth"])
def test_what_cannot_be_drawn_is_a_note(tmp_path, name):
    figure = drawn(name, make(tmp_path, [Run("demo", "base")], audit=False))
    assert figure.axes[0].texts[0].get_text()
