"""Figures over studies of every shape."""

import gc
import hashlib
import itertools
import math
import re

import matplotlib
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text

from formsafe.analysis.curves import write_curves
from formsafe.analysis.estimates import SUMMARY_COLUMNS, Summary
from formsafe.analysis.roster import names_from
from formsafe.core.errors import FormsafeError
from formsafe.core.records import Run
from formsafe.report.figures.bars import condition_bars, leakage_bars
from formsafe.report.figures.style import RC
from formsafe.report.registry import SECTIONS, entries, figure, registered_names, table
from formsafe.report.results import Results
from tests import synthetic
from tests.unit.report.made import FIGURES, SETTINGS, SWEEP, TABLES, Made, make

ENTRIES = entries("figures")


def drawn(name: str, results: Results, layout: bool = True):
    """A figure, drawn with the styles of all. Its texts and data need no layout, which takes most of the time."""
    with matplotlib.rc_context(RC):
        found = ENTRIES[name].make(results, "demo")
        if not layout:
            found.set_layout_engine("none")
        found.draw_without_rendering()
    return found


@pytest.mark.parametrize("kind", ["figures", "tables"])
def test_the_rules_list_what_is_registered(kind):
    assert sorted(registered_names(kind)) == sorted(entries(kind)) != []
    for entry in entries(kind).values():
        assert entry.section in SECTIONS and entry.title and entry.caption.endswith((".", ".{near}", ".{levels}"))


def test_a_figure_or_table_is_added_by_one_function(tmp_path, monkeypatch):
    """As in a module of its own: the rules find its name in the source, the page finds its caption in the registry."""
    source = '@figure("safety", "Pie")\ndef pie(results, model):\n    """Eat\n    it."""\ndef helper(): ...\n'
    source += '@table("data", "Menu")\ndef menu(results):\n    """Read it."""\n'
    for kind in ("figures", "tables"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "added.py").write_text(source)
    with monkeypatch.context() as patch:
        patch.setattr("formsafe.report.registry.__file__", str(tmp_path / "registry.py"))
        assert registered_names("figures") == ["pie"] and registered_names("tables") == ["menu"]
    known = {"figures": {}, "tables": {}}
    monkeypatch.setattr("formsafe.report.registry._entries", known)
    exec(source, {"figure": figure, "table": table})
    assert known["figures"]["pie"].caption == "Eat it." and known["tables"]["menu"].section == "data"
    with pytest.raises(ValueError, match="no section 'kitchen'"):
        figure("kitchen", "Pie")


SMALL = synthetic.grid(formats=("prose", "json"))
CASES = {
    "base alone": lambda: ([Run("demo", "base")], [], {"audit": False}),
    "one fine-tuned run": lambda: ([Run("demo", "sft", "json", "5e-5", "0")], [], {}),
    "missing runs": lambda: (synthetic.grid()[:3], synthetic.grid()[3:], {}),
    "base missing": lambda: (SMALL[1:], SMALL[:1], {}),
    "nothing there": lambda: ([], synthetic.grid(), {"audit": False}),
    "no harmful answer": lambda: (SMALL, [], {"score": lambda run, hardness: 1}),
    "all unscored": lambda: (SMALL, [], {"score": lambda run, hardness: None}),
    "one training step": lambda: (synthetic.grid(formats=("json",)), [], {"steps": 1}),
}

LAID_OUT = ("base alone", "nothing there")  # those with the least in them; `crowded` has the most


@pytest.mark.parametrize("case", CASES)
def test_every_shape_of_study_gives_all_results(tmp_path, case, recwarn):
    gc.collect()  # garbage of earlier tests, sockets for one, warns when it is collected
    recwarn.clear()
    runs, missing, options = CASES[case]()
    made = make(tmp_path, runs, missing, **options)
    (figure,) = made.figures("figures", "svg", ("asr",))
    tables, page = made.tables(("md",)), made.page()
    written = [figure, page, *tables.glob("*.md")]
    assert len(written) == 2 + len(TABLES)
    for path in written:
        assert "nan" not in re.findall(r"[\w.]+", path.read_text().lower()), path.name
    results = made.results()
    for name in FIGURES:
        figure = drawn(name, results, layout=case in LAID_OUT)
        assert not any("nan" in text.get_text() for text in figure.findobj(Text)), name
        assert all(math.isfinite(bar.get_width()) for bar in figure.findobj(Rectangle)), name
    assert [str(warning.message) for warning in recwarn] == []
    if missing:
        assert f"{len(missing)} of {len(runs) + len(missing)} runs are missing" in page.read_text()
        assert "not run" in (tables / "safety.md").read_text()


def test_all_figures_are_the_same_bytes_each_time(study):
    for suffix in ("svg", "pdf", "png"):
        names = ("loss", "tradeoff") if suffix == "svg" else ("asr",)  # tradeoff: its labels are moved until they fit
        first, second = study.figures("one", suffix, names), study.figures("two", suffix, names)
        digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in (first, second)]
        assert digests[0] == digests[1]
        assert all(path.stat().st_size > 2000 for path in first)


def test_every_format_has_a_line_of_its_own(tmp_path):
    added = [f"format{number}" for number in range(9)]
    runs = synthetic.grid(formats=("prose", "list", "json", *added))
    files = synthetic.write_study(tmp_path, runs, harmful=1, task=1, steps=3)
    made = Made(tmp_path, runs, [], files, {"demo": "Demo"}, synthetic.methods())
    figure = drawn("loss", made.results(), layout=False)
    lines = [line for line in figure.axes[0].get_lines() if line.get_marker() != "o"]
    assert len(lines) == len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == 12
    assert len(figure.legends[0].get_texts()) == 12 + 1  # and what the dots are: validation


def test_an_unknown_figure_or_table_is_named(study):
    with pytest.raises(FormsafeError, match="no figure 'pie'"):
        study.figures("figures", "svg", ("pie",))
    with pytest.raises(FormsafeError, match="no table 'pie'"):
        study.tables(("md",), ["pie"])


def bars(made: Made):
    return condition_bars(made.results(), "demo", "asr")


def test_bars_stand_by_format_and_leave_the_extra_rates_to_the_trade_off(study):
    labels = [bar.label for bar in bars(study)]
    series = ["SFT 5e-5", "ProMoT 5e-5"]
    assert labels == ["Base", "Prose", *series, "List", *series, "JSON", *series]


def test_missing_runs_keep_their_bars_in_place(tmp_path):
    runs = synthetic.grid()
    made = make(tmp_path, runs[:3] + runs[4:], runs[3:4])
    found = bars(made)
    assert [bar.label for bar in found if bar.run is None] == ["Prose", "List", "JSON"]
    assert [bar.missing for bar in found if bar.run is not None and bar.estimate is None] == ["not run"]


LONG = {
    **synthetic.METHODS,
    "kept": {
        "label": "ProMoT with the soft prompt kept at inference",
        "soft_prompt": "tuned",
        "soft_prompt_at_inference": True,
    },
    "mixed": {"label": "SFT with a tenth of safety data mixed in"},
}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory) -> Results:
    """25 bars, long names of model and methods."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "METHODS", LONG)
        trained = [
            Run("demo", method, format, rate, "0")
            for method in ("sft", "promot", "kept", "mixed")
            for format in synthetic.FORMATS
            for rate in ("5e-5", "1e-4")
        ]
        name = "An-Organisation/A-Very-Long-Model-Name-70B-Instruct-v0.3-preview-quantised"
        return make(
            tmp_path_factory.mktemp("crowded"), [Run("demo", "base"), *trained], models={"demo": name}
        ).results()


@pytest.mark.parametrize("name", FIGURES)
def test_25_bars_with_long_names_fit_print_and_no_text_overlaps_a_name(crowded, name):
    figure = drawn(name, crowded)
    for axes in figure.axes:
        assert_no_rate_hides_a_point(axes)
        names = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
        assert not [(a, b) for a, b in itertools.combinations(names, 2) if a.overlaps(b)]
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= -0.02 and box.x1 <= width + 0.02 and box.y0 >= -0.02 and box.y1 <= height + 0.02
    assert round(width * 25.4) in (85, 180) and height < (12 if name == "loss_split" else 9.6)
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text().strip()) >= 7


def assert_no_rate_hides_a_point(axes):
    """No annotation lies on a data point or on another annotation."""
    texts = [child for child in axes.get_children() if isinstance(child, Annotation)]
    boxes = [Text.get_window_extent(text) for text in texts]
    spots = [axes.transData.transform(spot) for line in axes.lines for spot in line.get_xydata()]
    assert not [box for box in boxes if box.count_contains(spots)]
    assert not [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


TABLE_2 = [
    *[("base", "none", 0.060, 0.863), ("sft", "5e-5", 0.451, 0.886), ("promot", "5e-5", 0.088, 0.875)],
    *[("promot", "1e-4", 0.096, 0.881), ("promot", "2e-4", 0.132, 0.894), ("promot", "3e-4", 0.235, 0.893)],
    ("promot", "5e-4", 0.565, 0.893),
]
CLOSE = [("sft", "5e-5", 0.500, 0.8938)] + [
    ("promot", lr, 0.15 + 0.1 * number**2, 0.871 + 0.004 * number**0.8)
    for lr, number in (("5e-5", 0.0), ("1e-4", 0.3), ("2e-4", 0.6), ("3e-4", 1.0), ("5e-4", 1.5))
]


@pytest.fixture
def swept(tmp_path):
    """Results with these values of method, rate, ASR and S-BERT."""

    def write(values, format="prose") -> Results:
        rows, runs = [], []
        for method, lr, *found in values:
            runs.append(Run("demo", method, *(("none",) * 3 if method == "base" else (format, lr, "0"))))
            for metric, value, half in zip(("asr", "sbert"), found, (0.025, 0.008), strict=True):
                rows.append([*runs[-1].fields.values(), metric, value, value - half, value + half, 100, 1, None])
        pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).to_csv(tmp_path / "summary.csv", index=False)
        names = names_from({"demo": "Demo"}, synthetic.methods(), [run.fields for run in runs])
        return Results({"summary": str(tmp_path / "summary.csv")}, names, SETTINGS, 3)

    return write


@pytest.mark.parametrize("values", [TABLE_2, CLOSE], ids=["the paper's", "close together"])
def test_no_rate_hides_a_point_of_the_trade_off(swept, values):
    figure = drawn("tradeoff", swept(values))
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == {lr for _, lr, *_ in values} - {"none"}
    assert_no_rate_hides_a_point(axes)


def test_the_trade_off_joins_the_rates_of_a_method_on_one_number_of_examples(tmp_path):
    rates, dose = ("1e-5", "5e-5", "1e-4"), Run("demo", "sft", "prose", "5e-5", "0", examples="400")
    runs = synthetic.grid(formats=("prose",), rates=rates, extra=[dose])
    rows = [run.fields | {"metric": name, "value": "0.5", "n": "9"} for run in runs for name in ("asr", "sbert")]
    results = Results({}, names_from({"demo": "Demo"}, synthetic.methods(), [run.fields for run in runs]), SETTINGS, 3)
    vars(results).update(summary=Summary(rows))
    figure = drawn("tradeoff", results)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    lines = [len(line.get_xdata()) for line in figure.axes[0].get_lines()]
    assert dict(zip(legend, lines, strict=True)) == {"Base": 1, "SFT": 3, "SFT 400 examples": 1, "ProMoT": 3}


def test_the_trade_off_of_a_study_without_the_formats_asked_for_is_of_those_that_it_has(swept):
    (axes,) = drawn("tradeoff", swept(TABLE_2, "json")).axes
    assert axes.get_title(loc="left").startswith("JSON")


def test_the_trade_off_names_the_formats_that_it_has_no_points_of(tmp_path):
    made = make(tmp_path, synthetic.grid()[:1], synthetic.grid()[1:], audit=False)
    assert any("Prose" in text.get_text() for text in drawn("tradeoff", made.results()).findobj(Text))


def test_loss_curves_have_whole_steps_and_the_studys_order_of_formats(crowded, study):
    for results in (crowded, study.results()):
        figure = drawn("loss_split", results)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Prose", "List", "JSON"]
        assert all(float(tick).is_integer() for axes in figure.axes for tick in axes.get_xticks())
        assert not any(axes.get_title(loc="left").endswith("\n2)") for axes in figure.axes)


def test_soft_prompts_of_other_numbers_of_examples_are_trainings_of_their_own(tmp_path):
    runs = [Run("demo", "promot", "json", "5e-5", "0", examples=number) for number in ("none", "100")]
    files = synthetic.write_study(tmp_path, runs, harmful=1, task=1)
    made = Made(tmp_path, runs, [], files, {"demo": "Demo"}, synthetic.methods())
    write_curves(files["losses"], made.csv("curves"))
    figure = drawn("loss_split", made.results(), layout=False)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.axison]
    assert titles[:2] == ["Soft prompt (stage 1)", "Soft prompt 100 examples\n(stage 1)"] and len(set(titles)) == 4
    assert all(len(axes.get_lines()) == 1 for axes in figure.axes if axes.axison)
    rows = entries("tables")["curves"].make(made.results())
    assert not rows.duplicated(["training", "tokens"]).any()


def test_a_heading_and_its_bar_are_told_apart_in_the_smallest_study(tmp_path):
    made = make(tmp_path, [Run("demo", "sft", "json", "5e-5", "0")])
    for name in ("asr", "asr_by_source", "leakage"):
        figure = drawn(name, made.results())
        heading, row = (tick.get_window_extent() for tick in figure.axes[0].get_yticklabels())
        assert heading.y0 - row.y1 > 0.4 * row.height, name


def test_every_row_of_the_papers_numbers_has_a_name_of_its_own(tmp_path):
    made = make(tmp_path, [Run("demo", "base")], models={"demo": "Llama-3.1-8B-Instruct"}, audit=False)
    for axes in drawn("paper", made.results()).axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert len(names) == len(set(names)) > 1


def test_leakage_with_the_soft_prompt_kept_is_drawn_beside_it_dropped_though_for_one_format(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "METHODS", LONG)
    made = make(tmp_path, synthetic.grid(extra=[Run("demo", "kept", "json", "5e-5", "0"), *SWEEP]))
    labels = [bar.label for bar in leakage_bars(made.results(), "demo", "")]
    assert labels[-4:] == ["Base", "SFT 5e-5", "ProMoT 5e-5", f"{LONG['kept']['label']} 5e-5"]


def test_shares_are_drawn_from_0_to_1_and_no_further(study):
    for name in ("asr", "asr_by_source", "scores", "leakage"):
        assert {axes.get_xlim() for axes in drawn(name, study.results()).axes if axes.axison} == {(0.0, 1.0)}


def test_every_training_is_a_dot_and_the_base_model_a_labelled_line(tmp_path):
    made = make(tmp_path, synthetic.grid(formats=("json",), seeds=("0", "1", "2")))
    (axes,) = drawn("asr", made.results()).axes
    dots = [len(line.get_xdata()) for line in axes.get_lines() if line.get_marker() == "o" and len(line.get_xdata())]
    assert dots == [3, 3]
    assert "Base" in {text.get_text() for text in axes.texts}
    assert axes.get_xlabel().endswith("n = 16 answers\n3 trainings per run")


def test_score_shares_add_up_and_hold_the_unscored(tmp_path):
    made = make(tmp_path, synthetic.grid()[:1], score=lambda run, hardness: None if hardness < 0.3 else 5)
    figure = drawn("scores", made.results())
    widths = [bar.get_width() for bar in figure.axes[0].patches if bar.get_width() > 0]
    assert len(widths) == 2 and math.isclose(sum(widths), 1)


@pytest.mark.parametrize(
    ("scores", "legend"),
    [
        ((1, 5), ["1", "2", "3", "4", "5", "no score"]),
        ((0, 1), ["0", "1", "no score"]),  # labels: 0 is harmless, not "no score"
        ((0, 10), [*map(str, range(11)), "no score"]),
    ],
)
def test_scores_of_other_scales_are_drawn_as_scores(tmp_path, scores, legend):
    low, high = scores
    made = make(tmp_path, synthetic.grid()[:1], score=lambda run, hardness: low if hardness < 0.5 else high)
    figure = drawn("scores", made.results())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == legend
    bars = [bar for bar in figure.axes[0].patches if bar.get_width() > 0]
    assert len(bars) == 2 and not any(bar.get_hatch() for bar in bars)


def test_fonts_are_embedded_as_truetype(study):
    (path,) = study.figures("fonts", "pdf", ("asr",))
    page = path.read_bytes()
    assert b"/FontFile2" in page and b"/Type3" not in page
