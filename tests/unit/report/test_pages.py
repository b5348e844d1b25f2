"""The page of the study, read as a file; tests/browser looks at it in a browser."""

import base64
import hashlib
import html
import re
from dataclasses import replace

import pytest

from formsafe.analysis.roster import names_from
from formsafe.config.settings.grid import MethodSettings
from formsafe.core.records import Finding, Run
from formsafe.report.figures.style import asr_label
from formsafe.report.pages.appendix import cost_table, read_metrics, settings_table, versions_table
from formsafe.report.pages.findings import card, inlined, whole
from formsafe.report.pages.page import facts
from formsafe.report.registry import entries
from formsafe.report.results import Results
from tests import synthetic
from tests.unit.report.made import SETTINGS, Made, make


@pytest.fixture(scope="module")
def page(study: Made) -> str:
    study.figures("figures", "svg", ("asr", "tradeoff"))
    return study.page().read_text()


def test_the_page_loads_nothing_and_runs_its_own_script_only(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}'" in policy
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"<)]*", page)) <= namespaces
    assert not re.search(r"<(link|iframe|img|object|embed)\b|@import|url\((?!#)", page)


def test_the_page_has_every_section_and_all_is_escaped(page):
    for part in ("findings", "safety", "task", "training", "judges", "data", "cost", "configuration", "versions"):
        assert f'<section id="{part}"' in page and f'href="#{part}"' in page, part
    assert "A &lt;study&gt;" in page and "&lt;b&gt;" in page and "&lt;json&gt;" in page and "WikiSum" in page
    assert "12 rows, left out: 2 repeated" in page and "scipy" in page and "statsmodels" in page


def test_a_finding_has_its_figure_beside_it_and_no_figure_is_drawn_twice(page):
    findings = page[page.index('<section id="findings"') : page.index('<section id="safety"')]
    assert findings.count("<figure") == 2 and page.count('id="figure-asr-demo"') == 1
    assert "0.660 [0.630, 0.690]" in findings and "p &lt; 0.001, 1,320 prompts, 1 training" in findings
    for status in ("shown", "not shown", "in this training only", "cannot be said"):
        assert f">{status}</span>" in findings
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_what_was_run_names_judges_and_encoder(study):
    settings = {
        "harmful": {"own": {"count": 1320}},
        "benign": {"mine": {"count": 250}, "more": {"count": 5}},
        "judges": {"policy": {"model": "demo"}, "strict": {"model": "big"}},
    }
    for encoder, named in (({"hub": {"repo": "a/b"}}, "a/b"), ({"hub": None, "folder": "encoder"}, "encoder")):
        page = study.page(settings=settings | {"tasks": {"encoder": encoder}}).read_text()
        told = dict(re.findall(r"<dt>([^<]*)</dt>\s*<dd>([^<]*)</dd>", page))
        assert (told["Judges"], told["Sentence encoder"]) == ("policy (Llama-3.1-8B-Instruct), strict (big)", named)
        assert told["Harmful prompts"] == "1,320 (own 1,320)"
        assert told["Benign prompts"] == "255 (mine 250, more 5)"


def test_only_what_is_trained_counts_as_a_training():
    methods = {
        **{"base": {"trained": False}, "sft": {}, "sys": {"trained": False, "system_prompt_test": "Be careful."}},
        **{"kept": {"soft_prompt": "tuned", "soft_prompt_at_inference": True, "adapter_of": "promot"}},
        **{"projected": {"adapter_of": "sft", "projection": {"base": "demo"}}, "alone": {"soft_prompt": "only"}},
        **{"promot": {"soft_prompt": "tuned"}, "other": {"soft_prompt": {"of": {"format": "json"}}}},
    }
    settings = {name: MethodSettings(label=name, **given) for name, given in methods.items()}
    trained = [name for name, method in settings.items() if method.trained]
    runs = [Run("demo", "base"), Run("demo", "sys"), *(Run("demo", name, "json", "5e-5", "0") for name in trained)]
    dumped = {name: method.model_dump() for name, method in settings.items()}
    names = names_from({"demo": "Demo"}, dumped, [run.fields for run in runs])
    assert [run.method for run in names.planned if names.trains_adapter(run)] == ["sft", "promot", "other"]
    assert facts(Results({}, names, SETTINGS, 3), {})["Trainings"] == "Demo: 3"


PAPERS = {
    "page": "the judge scores 3 or more out of 5.",
    "asr": "that the judge scored 3 or more, by format",
    "scores": "from 1 (harmless) to 5; hatched: answers without a score. Harmful means 3 or more; a finding that rests "
    "on scores of 3 and 4 alone depends on that threshold.",
    "safety": "(score 3 or more) among the scored ones",
    "axis": "ASR (scores ≥ 3)",
}
OF_TEN = {
    "page": "the judge scores 6 or more out of 10.",
    "asr": "that the judge scored 6 or more, by format",
    "scores": "from 0 (harmless) to 10; hatched: answers without a score. Harmful means 6 or more; a finding that "
    "rests on scores of 6 and 7 alone depends on that threshold.",
    "safety": "n: scored answers.",
    "axis": "ASR (scores ≥ 6)",
}
LABELS = {
    "page": "the judge labels unsafe or mixed.",
    "asr": "that the judge labelled unsafe or mixed, by format",
    "scores": "0 (harmless) or 1 (unsafe or mixed); hatched: answers without a score.",
    "safety": "(label unsafe or mixed) among the scored ones",
    "axis": "ASR (labelled unsafe or mixed)",
}


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        ({}, PAPERS),
        ({"threshold": 6, "scale": (0, 10)}, OF_TEN),
        ({"threshold": 1, "labels": ("unsafe", "mixed")}, LABELS),
    ],
)
def test_page_and_captions_say_what_the_headline_judge_calls_harmful(study, monkeypatch, judge, expected):
    results = replace(study.results(), **judge)
    captions = {entry.name: entry.caption for kind in ("figures", "tables") for entry in entries(kind).values()}
    found = {name: captions[name].format(**results.words) for name in ("asr", "scores", "safety", "safety_by_source")}
    monkeypatch.setattr(Made, "results", lambda made, **files: replace(results, files=results.files | files))
    page = study.page().read_text()
    claim = re.sub(r"\s+", " ", page[page.index('<p class="claim">') : page.index('<dl class="facts">')])
    texts = found | {"page": claim, "axis": asr_label(results)}
    assert [name for name, part in expected.items() if part not in texts[name]] == []
    assert found["scores"].endswith(expected["scores"]) and found["safety"] in html.unescape(page)
    assert ("at 3 but not at 5" in found["safety"]) == (expected is PAPERS)


def test_a_threshold_at_the_end_of_the_scale_has_no_scores_near_it(study):
    for threshold, near in ((4, False), (5, False), (3, True)):
        words = replace(study.results(), threshold=threshold).words
        assert ("alone" in words["near"]) == near and bool(words["levels"]) == (threshold < 5)


def test_a_figure_without_anything_drawn_is_left_out(tmp_path):
    made = make(tmp_path, [Run("demo", "base")])
    drawn = {path.stem: 'id="nothing-to-draw"' in path.read_text() for path in made.figures("figures", "svg")}
    page = made.page().read_text()
    assert drawn["ladder_demo"] and not drawn["asr_demo"]
    for name, nothing in drawn.items():
        assert (f'id="figure-{name.removesuffix("_demo")}-demo"' in page) != nothing


def test_a_part_of_a_study_says_at_the_top_what_is_missing(tmp_path):
    runs = synthetic.grid()
    page = make(tmp_path, runs[:5], runs[5:], models={"demo": "M<i>"}).page().read_text()
    top = page[: page.index('<section id="findings"')]
    assert "2 of 7 runs are missing" in top and "<li>M&lt;i&gt;: ProMoT List</li>" in top


def test_a_question_with_several_findings_shows_a_row_each_and_folds_their_sentences(page):
    findings = page[page.index('<section id="findings"') : page.index('<section id="safety"')]
    assert "</span> 1 of 2 " in findings and "All 2 in words" in findings
    (table,) = re.findall(r'<table class="findings">.*?</table>', findings, re.DOTALL)
    assert re.findall(r'<tr class="([^"]*)" title="([^"]*)">', table) == [
        ("in-this-training-only", "in this training only"),
        ("shown", "shown"),
    ]


def test_a_learning_rate_is_not_broken_at_its_hyphen():
    assert whole("SFT <b> 6.5e-4 and 3e-3, non-inferior") == (
        'SFT &lt;b&gt; <span class="whole">6.5e-4</span> and <span class="whole">3e-3</span>, non-inferior'
    )


def test_a_card_says_only_what_is_known():
    finding = Finding(id="a", section="safety", question="q", status="cannot be said", sentence="s")
    assert card(finding)["numbers"] == card(finding)["basis"] == ""
    known = finding.model_copy(update={"value": -0.2, "ci_low": -0.3, "ci_high": -0.1, "p": 0.04, "n_trainings": 5})
    assert card(known)["numbers"] == "-0.200 [-0.300, -0.100]" and card(known)["basis"] == "p = 0.040, 5 trainings"


def test_figures_in_one_page_keep_their_own_letters():
    svg = '<?xml version="1.0"?><svg height="9pt" viewBox="0 0 5 9" width="5pt"><metadata>http://x</metadata>'
    svg += '<g id="a" clip-path="url(#b)"/><use xlink:href="#c"/></svg>'
    assert inlined(svg, "f") == (
        '<svg viewBox="0 0 5 9"><g id="f-a" clip-path="url(#f-b)"/><use xlink:href="#f-c"/></svg>',
        5.0,
    )


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
    found = {name: settings_table(part) for name, part in (("models", models), ("grid", grid), ("judge", judge))}
    assert found["models"].columns.tolist() == ["name", "label", "hub.repo", "hub.revision", "parameters"]
    assert found["models"].values.tolist() == [["a", "A", "o/a", "main", "8e+09"], ["b", "B", None, None, "1e+06"]]
    assert found["grid"].columns.tolist() == ["block", "models", "seeds", "exclude"]
    assert found["grid"].values.tolist() == [["1", "a; b", "0", None], ["2", "a", "0", "seed: 1"]]
    assert found["judge"].values.tolist() == [
        ["prompt", "p.txt"],
        *[["generation.top_p", "1"], ["generation.server", None], ["retries", "seed: 1; seed: 2"]],
    ]


def test_costs_by_stage(study):
    metrics = read_metrics(study.files["metrics"])
    table = cost_table(metrics)
    rows = {row[0]: row for row in table.values.tolist()}
    assert rows["adapters (SFT, stage 2)"][1] == 8 and rows["soft prompts (stage 1)"][1] == 3
    assert rows["all"][1] == len(metrics) and rows["all"][3] == 0.0
    assert versions_table(metrics).values.tolist()[0][2] == len(metrics)


def test_gpu_hours_and_trained_tokens():
    record = {
        "device": "NVIDIA H200",
        "seconds": 7200,
        "training_seconds": 100.0,
        "tokens_per_second": 50.0,
        "tokens": 9,
    }
    (row, _) = cost_table([("answers", record)]).values.tolist()
    assert row[2:5] == [2.0, 2.0, 5000]
