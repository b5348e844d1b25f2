"""Figures of arms: what is drawn is what the summary says."""

from dataclasses import replace

import matplotlib
import pytest

from formsafe.analysis.estimates import Summary
from formsafe.analysis.roster import names_from
from formsafe.config.settings.grid import MethodSettings
from formsafe.core.records import Run
from formsafe.report.figures.arms import FORMALITY, pareto_front
from formsafe.report.figures.bars import condition_bars, leakage_bars
from formsafe.report.figures.style import RC
from formsafe.report.registry import entries
from formsafe.report.results import Results
from tests import synthetic
from tests.unit.report.made import SETTINGS, make


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


@pytest.fixture
def prompted():
    """Results of a study with a control that is not trained: a system prompt, named before the base model."""
    given = {"label": "Careful", "trained": False, "system_prompt_test": "Be careful."}
    methods = {"careful": MethodSettings(**given).model_dump()} | synthetic.methods()
    runs = [Run("demo", "careful"), *synthetic.grid(formats=("prose", "json"))]
    rows = [
        run.fields | {"metric": metric, "value": f"{0.1 * number}", "n": "9"}
        for number, run in enumerate(runs)
        for metric in ("asr", "sbert", "sbert_neutral", "leak_strict", "leak_strict[json]")
    ]
    names = names_from({"demo": "Demo"}, methods, [run.fields for run in runs])
    results = Results({}, names, SETTINGS, 3)
    vars(results).update(summary=Summary(rows))
    return results


def test_a_control_without_training_stands_behind_the_base_model_and_is_no_format(prompted):
    for rows in (condition_bars(prompted, "demo", "asr"), leakage_bars(prompted, "demo", "")):
        assert [bar.label for bar in rows if bar.run is None] in (["Prose", "JSON"], ["JSON"])
    labels = [bar.label for bar in condition_bars(prompted, "demo", "asr")]
    assert labels[:3] == ["Base", "Careful", "Prose"]
    labels = [
        tick.get_text() for tick in entries("figures")["controls"].make(prompted, "demo").axes[0].get_yticklabels()
    ]
    assert labels == ["Careful", "Prose", "SFT", "ProMoT", "JSON", "SFT", "ProMoT"]
    for name in ("pareto", "tradeoff"):
        chosen = replace(prompted, settings=SETTINGS.model_copy(update={"tradeoff_formats": ["yaml"]}))
        vars(chosen).update(summary=prompted.summary)
        drawn = entries("figures")[name].make(chosen, "demo")
        assert [axes.get_title(loc="left").split()[0] for axes in drawn.axes] == ["Prose", "JSON"]
        assert "Careful" in [text.get_text() for text in drawn.legends[0].get_texts()]


def test_a_control_without_training_has_no_place_on_the_ladder(prompted, tmp_path):
    table = tmp_path / "formality.csv"
    table.write_text("model,format,added_bits\ndemo,prose,0.0\ndemo,json,6.5\n")
    prompted = replace(prompted, files={"formality": str(table)})
    vars(prompted).update(
        summary=Summary([{**run.fields, "metric": "asr", "value": "0.5", "n": "9"} for run in prompted.names.planned])
    )
    (axes,) = entries("figures")["ladder"].make(prompted, "demo").axes
    assert axes.get_xlabel() == FORMALITY["bit"]
    dots = {x for line in axes.get_lines() if line.get_linestyle() == "None" for x in line.get_xdata()}
    assert dots == {0.0, 6.5}


@pytest.mark.parametrize("name", ["ladder", "controls", "pareto", "first_token", "refusal_depth"])
def test_what_cannot_be_drawn_is_a_note(tmp_path, name):
    figure = drawn(name, make(tmp_path, [Run("demo", "base")], audit=False))
    assert figure.axes[0].texts[0].get_text()
