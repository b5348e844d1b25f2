# A study of synthetic scores: the real scripts, captions and report, without any model. The working directory holds
# results/mini/runs/... and study.json (inputs and parameters), as tests/browser/conftest.py writes them.

import json
import sys
from pathlib import Path

ROOT = Path(workflow.basedir).parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
CAPTIONS = ROOT / "workflow" / "report"
STUDY = json.loads(Path("study.json").read_text())
R = "results/mini"
SHARED = {key: STUDY[key] for key in ("models", "methods", "runs", "missing", "threshold", "analysis")}
sys.path.insert(0, str(SCRIPTS))
from formsafe.report.registry import registered_names

FIGURES, TABLES = registered_names("figures"), registered_names("tables")



configfile: "config.json"


report: str(CAPTIONS / "description.rst")


rule all:
    default_target: True
    input:
        f"{R}/report/verdict.rst",
        expand(f"{R}/figures/{{figure}}_demo.svg", figure=FIGURES),


rule summarise:
    input:
        **{name: STUDY["files"][name] for name in ("scores", "task", "harmful", "losses", "audit")},
    output:
        **{name: f"{R}/{name}.csv" for name in ("scores", "summary", "comparisons", "curves", "audit")},
    log:
        "logs/summarise.log",
    params:
        **SHARED,
    script:
        str(SCRIPTS / "summarise.py")


rule plot_figures:
    input:
        summary=f"{R}/summary.csv",
        scores=f"{R}/scores.csv",
        losses=STUDY["files"]["losses"],
        paper=str(ROOT / "workflow/data/paper_numbers.csv"),
    output:
        report(
            expand(f"{R}/figures/{{figure}}_demo.svg", figure=FIGURES),
            caption=str(CAPTIONS / "study.rst"),
            category="Safety",
        ),
    log:
        "logs/plot_figures.log",
    params:
        **SHARED,
        model="demo",
    script:
        str(SCRIPTS / "plot_figures.py")


rule write_tables:
    input:
        summary=f"{R}/summary.csv",
        comparisons=f"{R}/comparisons.csv",
        curves=f"{R}/curves.csv",
        audit=f"{R}/audit.csv",
        paper=str(ROOT / "workflow/data/paper_numbers.csv"),
    output:
        f"{R}/tables/paper_comparison.csv",
    log:
        "logs/write_tables.log",
    params:
        **SHARED,
    script:
        str(SCRIPTS / "write_tables.py")


rule describe_study:
    input:
        **{name: STUDY["files"][name] for name in ("metrics", "answers", "scores")},
        **{name: STUDY["files"][name][0] for name in ("corpus", "certificate")},
        summary=f"{R}/summary.csv",
        comparisons=f"{R}/comparisons.csv",
        curves=f"{R}/curves.csv",
        audit=f"{R}/audit.csv",
        paper=f"{R}/tables/paper_comparison.csv",
    output:
        verdict=f"{R}/report/verdict.rst",
        study=report(
            f"{R}/report/study.html",
            caption=str(CAPTIONS / "study.rst"),
            category="Study",
            labels={"what": "configuration, cost", "model": "all"},
        ),
        answers=report(
            f"{R}/report/answers_sample.html",
            caption=str(CAPTIONS / "answers_sample.rst"),
            category="Judge",
            labels={"what": "sample of answers (content warning)", "model": "all"},
        ),
    log:
        "logs/describe_study.log",
    params:
        **SHARED,
        title="A study in <miniature>",
        study="mini",
        licences={"WikiSum": "CC BY-NC-SA 3.0"},
        settings={"training": {"max_length": 256}},
    script:
        str(SCRIPTS / "describe_study.py")
