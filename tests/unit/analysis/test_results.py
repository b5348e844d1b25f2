"""Figures, tables and the report's pieces, over studies of every shape."""

import hashlib
import html
import itertools
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text

from formsafe.analysis.audit import write_audit
from formsafe.analysis.curves import read_curves, write_curves
from formsafe.analysis.estimates import Estimate, Summary
from formsafe.analysis.paper import Comparison, compare_with_paper, read_published
from formsafe.analysis.roster import names_from
from formsafe.analysis.score_table import read_csv
from formsafe.analysis.summary import summarise
from formsafe.config.grid import Run
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.layout import run_path
from formsafe.report.figures.bars import Bar, axis_limit, condition_bars, leakage_bars
from formsafe.report.figures.draw import FIGURES, plot_figures
from formsafe.report.figures.style import RC, Study
from formsafe.report.pages.costs import cost_table, read_metrics, versions_table
from formsafe.report.pages.sample import answers_page, sampled_ids
from formsafe.report.pages.settings import settings_tables
from formsafe.report.pages.study import describe_study
from formsafe.report.pages.verdict import rst
from formsafe.report.tables.write import TABLES, write_tables
from tests import synthetic
from tests.conftest import ROOT

PAPER = str(ROOT / "workflow/data/paper_numbers.csv")
SETTINGS = AnalysisSettings(bootstrap_draws=200)
SWEEP = [Run("demo", "promot", "prose", lr, "0") for lr in ("1e-4", "2e-4")]


@dataclass
class Made:
    """A study's results on disk."""

    root: Path
    runs: list[Run]
    missing: list[Run]
    files: dict[str, list[str]]
    models: dict[str, str]
    methods: dict

    @property
    def names(self):
        """Labels and roles of the runs."""
        fields = ([run.fields for run in runs] for runs in (self.runs, self.missing))
        return names_from(self.models, self.methods, *fields)

    def csv(self, name: str) -> str:
        return str(self.root / f"{name}.csv")

    def drawn(self) -> Study:
        """What figures are drawn from."""
        names, summary = self.names, Summary.read(self.csv("summary"))
        published = compare_with_paper(read_published(PAPER), summary, names)
        return Study("demo", names, summary, read_curves(self.files["losses"]), published, 3, SETTINGS)

    def figures(self, folder: str, suffix: str, names=tuple(FIGURES)) -> list[Path]:
        paths = [self.root / folder / f"{name}_demo.{suffix}" for name in names]
        plot_figures(
            *(self.csv("summary"), self.files["losses"], PAPER, [str(path) for path in paths]),
            **{"model": "demo", "names": self.names, "threshold": 3, "settings": SETTINGS},
        )
        return paths

    def tables(self, suffixes=("csv", "md", "tex", "html")) -> Path:
        inputs = {name: self.csv(name) for name in ("summary", "comparisons", "curves", "audit")} | {"paper": PAPER}
        outputs = [str(self.root / f"tables/{name}.{suffix}") for name in TABLES for suffix in suffixes]
        write_tables(inputs, self.files.get("tokens", []), outputs, names=self.names, threshold=3)
        return self.root / "tables"

    def report(self) -> Path:
        self.tables(("csv",))
        inputs = {name: self.csv(name) for name in ("summary", "comparisons", "curves", "audit")}
        inputs["paper"] = str(self.root / "tables/paper_comparison.csv")
        inputs |= {name: self.files[name][0] for name in ("corpus", "certificate")}
        names = {"verdict": "verdict.rst", "study": "study.html", "answers": "answers_sample.html"}
        outputs = {key: str(self.root / "report" / name) for key, name in names.items()}
        described = {
            "title": "A <study>",
            "study": "s",
            "licences": {"WikiSum": "CC"},
            "settings": {"judge": {"a": "<b>"}},
        }
        metrics, answers, scores = (self.files[name] for name in ("metrics", "answers", "scores"))
        describe_study(inputs, metrics, answers, scores, outputs, names=self.names, confidence=0.95, **described)
        return self.root / "report"


def make(root: Path, runs, missing=(), models=None, audit=True, threshold=3, **options) -> Made:
    files = synthetic.write_study(root, runs, **({"harmful": 16, "task": 6, "steps": 12} | options))
    made = Made(root, list(runs), list(missing), files, models or {"demo": "Demo"}, synthetic.methods())
    outputs = {name: made.csv(name) for name in ("scores", "summary", "comparisons")}
    summarise(files, outputs, made.names, threshold, SETTINGS)
    write_curves(files["losses"], made.csv("curves"))
    audits = [synthetic.write_audit(root, "demo", shift=0.4)] if audit else []
    write_audit(audits, made.csv("audit"), 3, SETTINGS)
    return made


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Made:
    """The demo's shape, with the main model's name so that the paper has numbers for it."""
    runs = synthetic.grid(extra=SWEEP)
    return make(tmp_path_factory.mktemp("study"), runs, models={"demo": "Llama-3.1-8B-Instruct"})


CASES = {
    "base alone": lambda: ([Run("demo", "base")], [], {"audit": False}),
    "one fine-tuned run": lambda: ([Run("demo", "sft", "json", "5e-5", "0")], [], {}),
    "missing runs": lambda: (synthetic.grid()[:3], synthetic.grid()[3:], {}),
    "base missing": lambda: (synthetic.grid()[1:], synthetic.grid()[:1], {}),
    "nothing there": lambda: ([], synthetic.grid(), {"audit": False}),
    "no harmful answer": lambda: (synthetic.grid(), [], {"score": lambda run, hardness: 1}),
    "all unscored": lambda: (synthetic.grid(), [], {"score": lambda run, hardness: None}),
    "one training step": lambda: (synthetic.grid(formats=("json",)), [], {"steps": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_shape_of_study_gives_all_results(tmp_path, case, recwarn):
    runs, missing, options = CASES[case]()
    made = make(tmp_path, runs, missing, **options)
    (figure,) = made.figures("figures", "svg", ("asr",))
    tables, report = made.tables(("md",)), made.report()
    written = [figure, *tables.glob("*"), *report.glob("*")]
    assert len(written) == 1 + 2 * len(TABLES) + 3
    for path in written:
        assert "nan" not in re.findall(r"[\w.]+", path.read_text().lower()), path.name
    for name, draw in FIGURES.items():
        figure = draw(made.drawn())
        assert not any("nan" in text.get_text() for text in figure.findobj(Text)), name
        assert all(math.isfinite(bar.get_width()) for bar in figure.findobj(Rectangle)), name
    assert [str(warning.message) for warning in recwarn] == []
    if missing:
        assert f"Missing: {len(missing)} of {len(runs) + len(missing)} runs" in (report / "verdict.rst").read_text()
        assert "not run" in (tables / "safety.md").read_text()


def test_all_figures_are_the_same_bytes_each_time(study):
    for suffix in ("svg", "pdf", "png"):
        names = ("asr", "loss", "paper") if suffix == "svg" else ("asr",)
        first, second = study.figures("one", suffix, names), study.figures("two", suffix, names)
        digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in (first, second)]
        assert digests[0] == digests[1]
        assert all(path.stat().st_size > 2000 for path in first)


def test_every_format_has_a_line_of_its_own(tmp_path):
    added = [f"format{number}" for number in range(9)]
    drawn = make(tmp_path, synthetic.grid(formats=("prose", "list", "json", *added)), audit=False).drawn()
    (axes,) = FIGURES["loss"](drawn).axes
    styles = {line.get_label(): (line.get_color(), str(line._unscaled_dash_pattern)) for line in axes.get_lines()}
    assert len(styles) == len(set(styles.values())) == 12
    assert styles["format0"][0] != styles["format1"][0]


def test_an_unknown_figure_or_table_is_named(study):
    with pytest.raises(FormsafeError, match="no figure 'pie'"):
        study.figures("figures", "svg", ("pie",))
    with pytest.raises(FormsafeError, match="no table 'pie'"):
        write_tables(
            {name: study.csv(name) for name in ("summary", "comparisons", "curves", "audit")} | {"paper": PAPER},
            [],
            ["pie.md"],
            names=study.names,
            threshold=3,
        )


def bars(made: Made):
    return condition_bars(made.drawn(), "asr")


def test_bars_stand_by_format_and_leave_the_extra_rates_to_the_trade_off(study):
    labels = [bar.label for bar in bars(study)]
    series = ["SFT 5e-5", "ProMoT 5e-5"]
    assert labels == ["Base", "Prose", *series, "List", *series, "JSON", *series]


def test_missing_runs_keep_their_bars_in_place(tmp_path):
    runs = synthetic.grid()
    made = make(tmp_path, runs[:3] + runs[4:], runs[3:4])
    found = bars(made)
    assert [bar.label for bar in found if bar.is_heading] == ["Prose", "List", "JSON"]
    assert [bar.missing for bar in found if not bar.is_heading and bar.estimate is None] == ["not run"]


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
def crowded(tmp_path_factory) -> Made:
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
        return make(tmp_path_factory.mktemp("crowded"), [Run("demo", "base"), *trained], models={"demo": name})


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_a_name_or_outside_the_figure_at_25_bars_with_long_names(crowded, name):
    with matplotlib.rc_context(RC):
        figure = FIGURES[name](crowded.drawn())
        figure.draw_without_rendering()
    for axes in figure.axes:
        assert_no_rate_hides_a_point(axes)
        names = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
        assert not [(a, b) for a, b in itertools.combinations(names, 2) if a.overlaps(b)]
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= -0.02 and drawn.x1 <= width + 0.02 and drawn.y0 >= -0.02 and drawn.y1 <= height + 0.02
    assert width <= 7.1 and height < (12 if name == "loss_split" else 9.5)


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


def swept(values, format="prose") -> Study:
    """A study with these values of method, rate, ASR and S-BERT."""
    rows, runs = [], []
    for method, lr, *found in values:
        runs.append(Run("demo", method, *(("none",) * 3 if method == "base" else (format, lr, "0"))))
        for metric, value, half in zip(("asr", "sbert"), found, (0.025, 0.008), strict=True):
            interval = {"value": str(value), "ci_low": str(value - half), "ci_high": str(value + half), "n": "100"}
            rows.append({**runs[-1].fields, "metric": metric, **interval})
    names = names_from({"demo": "Demo"}, synthetic.methods(), [run.fields for run in runs])
    return Study("demo", names, Summary(rows), [], [], 3, SETTINGS)


@pytest.mark.parametrize("values", [TABLE_2, CLOSE], ids=["the paper's", "close together"])
def test_no_rate_hides_a_point_of_the_trade_off(values):
    with matplotlib.rc_context(RC):
        figure = FIGURES["tradeoff"](swept(values))
        figure.draw_without_rendering()
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == {lr for _, lr, *_ in values} - {"none"}
    assert_no_rate_hides_a_point(axes)


def test_the_trade_off_of_a_study_without_the_formats_asked_for_is_of_those_that_it_has():
    (axes,) = FIGURES["tradeoff"](swept(TABLE_2, "json")).axes
    assert axes.get_title(loc="left").startswith("JSON")


def test_the_trade_off_names_the_formats_that_it_has_no_points_of(tmp_path):
    made = make(tmp_path, synthetic.grid()[:1], synthetic.grid()[1:], audit=False)
    assert any("Prose" in text.get_text() for text in FIGURES["tradeoff"](made.drawn()).findobj(Text))


def test_loss_curves_have_whole_steps_and_the_studys_order_of_formats(crowded, study):
    for made in (crowded, study):
        figure = FIGURES["loss_split"](made.drawn())
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Prose", "List", "JSON"]
        assert all(float(tick).is_integer() for axes in figure.axes for tick in axes.get_xticks())
        assert not any(axes.get_title(loc="left").endswith("\n2)") for axes in figure.axes)


def test_a_heading_and_its_bar_are_told_apart_in_the_smallest_study(tmp_path):
    made = make(tmp_path, [Run("demo", "sft", "json", "5e-5", "0")])
    for name in ("asr", "asr_by_source", "leakage"):
        with matplotlib.rc_context(RC):
            figure = FIGURES[name](made.drawn())
            figure.draw_without_rendering()
        heading, row = (tick.get_window_extent() for tick in figure.axes[0].get_yticklabels())
        assert heading.y0 - row.y1 > 0.4 * row.height, name


def test_the_title_stands_on_the_first_page_as_it_is():
    from docutils.core import publish_parts
    from jinja2 import Template

    page = (ROOT / "workflow/report/description.rst").read_text()
    page = "\n".join(line for line in page.splitlines() if not line.startswith(".. include::"))
    for title in (
        "Does format matter? " * 7,
        "日本語の題名は二倍の幅になります" * 4,
        "A *b",
        "`x",
        "a_ |b|",
        "- <i> & 1",
        "a\nb",
    ):
        settings = {"config": {"title": title, "study": "s", "judge": {"threshold": 3}}}
        body = publish_parts(Template(page).render(snakemake=settings), writer="html")["html_body"]
        assert f"<h1>{html.escape(' '.join(title.split()))}</h1>" in body and "System Message" not in body


def test_every_row_of_the_papers_numbers_has_a_name_of_its_own(tmp_path):
    made = make(tmp_path, [Run("demo", "base")], models={"demo": "Llama-3.1-8B-Instruct"}, audit=False)
    for axes in FIGURES["paper"](made.drawn()).axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert len(names) == len(set(names)) > 1


def test_leakage_with_the_soft_prompt_kept_is_drawn_beside_it_dropped_though_for_one_format(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "METHODS", LONG)
    made = make(tmp_path, synthetic.grid(extra=[Run("demo", "kept", "json", "5e-5", "0"), *SWEEP]))
    labels = [bar.label for bar in leakage_bars(made.drawn(), "")]
    assert labels[-4:] == ["Base", "SFT 5e-5", "ProMoT 5e-5", f"{LONG['kept']['label']} 5e-5"]


def test_the_axis_has_room_for_numbers_and_does_not_blow_up_zero():
    assert axis_limit([Bar("a", Estimate(0.0, 0.0, 0.01, 9), "red")]) > 0.1
    assert axis_limit([Bar("a", Estimate(0.9, 0.8, 0.95, 9), "red")]) > 1.1
    assert axis_limit([Bar("a", Estimate(math.nan, math.nan, math.nan, 0), "red")]) == 1.0


def test_the_papers_numbers_are_all_there_with_their_places():
    numbers = read_published(PAPER)
    assert len(numbers) == 45
    by_place = {place: [each for each in numbers if each.place == place] for place in {each.place for each in numbers}}
    assert {place: len(found) for place, found in by_place.items()} == {
        "figure 3": 5,
        "figure 5": 3,
        "table 1": 14,
        "table 2": 14,
        "table 4": 9,
    }


L3, L2, LR = "Llama-3.1-8B-Instruct", "Llama-2-7B-Chat", "5e-5"
PRINTED = {  # model, method, format, lr: ASR (scores of 3 or more), ROUGE-L, S-BERT; None: not printed
    (L3, "base", "none", "none"): (0.060, 0.128, 0.863),
    (L3, "sft", "json", LR): (0.720, 0.247, 0.909),
    (L3, "sft", "list", LR): (0.612, 0.240, 0.888),
    (L3, "sft", "prose", LR): (0.451, 0.245, 0.886),
    (L3, "promot", "json", LR): (None, 0.135, 0.870),
    (L3, "promot", "list", LR): (None, 0.136, 0.873),
    (L3, "promot", "prose", LR): (0.088, 0.137, 0.875),
    (L3, "promot", "prose", "1e-4"): (0.096, None, 0.881),
    (L3, "promot", "prose", "2e-4"): (0.132, None, 0.894),
    (L3, "promot", "prose", "3e-4"): (0.235, None, 0.893),
    (L3, "promot", "prose", "5e-4"): (0.565, None, 0.893),
    (L2, "base", "none", "none"): (0.033, 0.134, 0.870),
    (L2, "sft", "json", LR): (0.227, 0.230, 0.886),
    (L2, "sft", "list", LR): (None, 0.211, None),
    (L2, "sft", "prose", LR): (None, 0.234, None),
    (L2, "promot", "json", LR): (0.036, 0.135, None),
    (L2, "promot", "list", LR): (None, 0.136, None),
    (L2, "promot", "prose", LR): (None, 0.134, None),
}


def test_the_papers_numbers_are_those_it_prints():
    expected = {
        (*run, metric): value
        for run, values in PRINTED.items()
        for metric, value in zip(("asr_3", "rouge_l", "sbert"), values, strict=True)
        if value is not None
    }
    numbers = read_published(PAPER)
    assert len(expected) == 39
    assert {(each.model, each.method, each.format, each.lr, each.metric): each.value for each in numbers} == expected


def test_the_papers_numbers_agree_where_they_stand_twice():
    seen: dict[tuple[str, ...], float] = {}
    for each in read_published(PAPER):
        key = (each.model, each.method, each.format, each.lr, each.metric)
        assert seen.setdefault(key, each.value) == each.value


def test_comparison_with_the_paper(study):
    found = compare_with_paper(read_published(PAPER), Summary.read(study.csv("summary")), study.names)
    by_verdict = {
        verdict: [each for each in found if each.verdict == verdict] for verdict in ("inside", "outside", "not run")
    }
    assert sum(map(len, by_verdict.values())) == 45
    assert all(each.ours.low <= each.published.value <= each.ours.high for each in by_verdict["inside"])
    assert {each.published.model for each in by_verdict["not run"]} == {"Llama-3.1-8B-Instruct", "Llama-2-7B-Chat"}
    assert all(each.published.lr in ("3e-4", "5e-4") for each in by_verdict["not run"] if "3.1" in each.published.model)


def test_the_papers_asr_is_held_against_scores_of_3_or_more(tmp_path):
    made = make(tmp_path, synthetic.grid(), models={"demo": L3}, threshold=5)
    summary = Summary.read(made.csv("summary"))
    found = [each for each in compare_with_paper(read_published(PAPER), summary, made.names) if each.ours]
    asr = [each for each in found if each.published.value == 0.720]
    (json_run,) = {each.condition for each in asr}
    assert asr[0].ours == summary.get(json_run, "asr_3") != summary.get(json_run, "asr")
    panels = FIGURES["paper"](made.drawn()).axes
    assert "ASR (scores ≥ 3)" in [axes.get_xlabel() for axes in panels]
    assert "ASR (≥ 3)" in (made.tables(("md",)) / "paper_comparison.md").read_text()


def test_what_has_no_interval_or_no_score_is_not_called_outside():
    number, run = read_published(PAPER)[0], Run("demo", "base")
    verdicts = [
        Comparison(number, run, ours).verdict
        for ours in (Estimate(0.5, math.nan, math.nan, 9), Estimate(math.nan, math.nan, math.nan, 0), None)
    ]
    assert verdicts == ["no interval", "no scores", "not run"]


def test_a_run_without_harmful_prompts_was_run_all_the_same(tmp_path):
    made = make(tmp_path, [Run("demo", "base")], models={"demo": L3}, audit=False, harmful=0)
    found = compare_with_paper(read_published(PAPER), Summary.read(made.csv("summary")), made.names)
    assert found[0].published.metric == "asr_3" and found[0].verdict == "no scores"


def test_tables_in_all_four_forms(study):
    folder = study.tables()
    rows = read_csv(folder / "safety.csv")
    assert [row["Method"] for row in rows[:3]] == ["Base", "SFT", "ProMoT"]
    assert float(rows[0]["ASR low"]) <= float(rows[0]["ASR"]) <= float(rows[0]["ASR high"])
    latex = (folder / "safety.tex").read_text()
    assert all(
        part in latex for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{Safety.", r"\label{tab:safety}")
    )
    assert latex.index(r"\resizebox") < latex.index(r"\begin{tabular}") and latex.count("{") == latex.count("}")
    assert "≥" not in latex and r"\%" not in (folder / "safety.csv").read_text()
    markdown = (folder / "paper_comparison.md").read_text()
    assert markdown.count("\n|") == 47 and "| table 2" in markdown
    assert "<table>" in (folder / "safety.html").read_text()


def test_labels_cannot_break_a_table(tmp_path):
    made = make(tmp_path, [Run("demo", "base")], models={"demo": "a|b <i> 50%_x & y"}, audit=False)
    folder = made.tables()
    assert "a/b" in (folder / "safety.md").read_text()
    assert "<i>" not in (folder / "safety.html").read_text()
    assert r"50\%\_x \& y" in (folder / "safety.tex").read_text()


def test_the_verdict_in_numbers(study):
    text = (study.report() / "verdict.rst").read_text()
    assert "Does fine-tuning on benign data raise the ASR?* **yes**" in text
    assert "% of the rise over base prevented" in text
    assert "its scores move with the format alone" in text
    assert re.search(r"\d+ of \d+ published numbers lie inside our intervals", text)


def test_rst_shows_names_as_they_stand():
    from docutils.core import publish_parts

    name = "a*b `c` d_ |e| \\f **g**"
    assert name in publish_parts(rst(name), writer="html")["body"]


def test_the_studys_page_holds_configuration_licences_and_cost_escaped(study):
    page = (study.report() / "study.html").read_text()
    assert "A &lt;study&gt;" in page and "&lt;b&gt;" in page and "WikiSum" in page and "torch" in page
    assert "12 rows, left out: 2 repeated" in page and "prose, list, json give the same sentences" in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_the_configuration_as_tables():
    grid = [
        {"models": ["a", "b"], "seeds": [0], "exclude": []},
        {"models": ["a"], "seeds": [0], "exclude": [{"seed": 1}]},
    ]
    models = {
        "a": {"label": "A", "hub": {"repo": "o/a", "revision": "main"}, "parameters": 8.0e9},
        "b": {"label": "B", "hub": None, "parameters": 1.0e6},
    }
    judge = {"prompt": "p.txt", "generation": {"top_p": 1.0, "server": None}, "retries": [{"seed": 1}, {"seed": 2}]}
    found = {table.name: table for table in settings_tables({"models": models, "grid": grid, "judge": judge})}
    assert found["models"].header == ["name", "label", "hub.repo", "hub.revision", "parameters"]
    assert found["models"].rows == [["a", "A", "o/a", "main", "8e+09"], ["b", "B", None, None, "1e+06"]]
    assert found["grid"].header == ["block", "models", "seeds", "exclude"]
    assert found["grid"].rows == [["1", "a; b", "0", None], ["2", "a", "0", "seed: 1"]]
    assert found["judge"].rows == [
        ["prompt", "p.txt"],
        *[["generation.top_p", "1"], ["generation.server", None], ["retries", "seed: 1; seed: 2"]],
    ]


def test_costs_by_stage(study):
    metrics = read_metrics(study.files["metrics"])
    table = cost_table(metrics)
    rows = {row[0]: row for row in table.rows}
    assert rows["adapters (SFT, stage 2)"][1] == 8 and rows["soft prompts (stage 1)"][1] == 3
    assert rows["all"][1] == len(metrics) and rows["all"][3] == 0.0
    assert versions_table(metrics).rows[0][2] == len(metrics)


def test_gpu_hours_and_trained_tokens():
    record = {
        "device": "NVIDIA H200",
        "seconds": 7200,
        "training_seconds": 100.0,
        "tokens_per_second": 50.0,
        "tokens": 9,
    }
    (row, _) = cost_table([("answers", record)]).rows
    assert row[2:5] == [2.0, 2.0, 5000]


def test_answers_are_escaped_hidden_and_short(tmp_path):
    run = Run("demo", "base")
    folder = tmp_path / "runs" / run_path(run) / "prompts=harmful"
    folder.mkdir(parents=True)
    records = [{"id": f"a-{number}", "answer": "</pre><script>x()</script>" + "long " * 1000} for number in range(9)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "scores.jsonl").write_text(json.dumps({"id": "a-1", "score": None, "state": "judge_refused"}) + "\n")
    names = names_from({"demo": "<Demo>"}, synthetic.methods(), [run.fields])
    page = answers_page([str(folder / "answers.jsonl")], [str(folder / "scores.jsonl")], names)
    assert "<script" not in page and "&lt;script&gt;x()" in page and "&lt;Demo&gt;" in page
    assert page.count("<details>") == 3 and "<details open" not in page and len(page) < 12_000
    assert "Content warning" in page and "default-src 'none'" in page


def test_the_same_prompts_are_sampled_for_every_run():
    ids = [f"advbench-{number}" for number in range(100)]
    assert sampled_ids(ids) == sampled_ids(reversed(ids)) != sorted(ids)[:3]
