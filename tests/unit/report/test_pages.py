"""The pieces of the report."""

import html
import json
import re

from formsafe.analysis.roster import names_from
from formsafe.core.layout import run_path
from formsafe.core.records import Run
from formsafe.report.pages.costs import cost_table, read_metrics, versions_table
from formsafe.report.pages.sample import answers_page, sampled_ids
from formsafe.report.pages.settings import settings_tables
from formsafe.report.pages.verdict import rst
from tests import synthetic
from tests.conftest import ROOT


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
    found = settings_tables({"models": models, "grid": grid, "judge": judge})
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
