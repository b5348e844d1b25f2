"""What the results of the paper's grid cost: statistics, figures and tables of 18 runs with synthetic scores.

18 runs of 1,320 harmful and 100 task answers, losses of 90 steps, two models: the work of the
rules summarise, plot_figures (one a model), write_tables and write_report, each in a process of its own as in the
workflow, so that imports count. Writes benchmarks/results/results_grid.json. Goal: under 60 s on two cores.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from committed import ROOT, save

GOAL = 60.0
PAPER = str(ROOT / "workflow/data/paper_numbers.csv")
MODELS = {"llama-3.1-8b-instruct": "Llama-3.1-8B-Instruct", "llama-2-7b-chat": "Llama-2-7B-Chat"}
RATES = ("1e-4", "2e-4", "3e-4", "5e-4")


def write_scores(root: Path) -> dict:
    """Synthetic score files of the paper's grid; what the steps need to know of it."""
    from formsafe.config.grid import Run
    from tests import synthetic

    sweep = [Run("llama-3.1-8b-instruct", "promot", "prose", rate, "0") for rate in RATES]
    runs = synthetic.grid(models=MODELS, extra=sweep)
    files = synthetic.write_study(root, runs, harmful=1320, task=100, steps=90)
    files["audit"] = [synthetic.write_audit(root, model, answers=100, shift=0.1) for model in MODELS]
    return {"files": files, "runs": [run.fields for run in runs], "methods": synthetic.methods()}


def names_of(study: dict):
    from formsafe.analysis.roster import names_from

    return names_from(MODELS, study["methods"], study["runs"])


def summarise(root: Path, study: dict, settings) -> None:
    from formsafe.analysis import audit, comparisons, curves, summary

    files = study["files"]
    outputs = {name: str(root / f"{name}.csv") for name in ("scores", "summary", "comparisons", "contrasts")}
    summary.summarise(files, outputs, names_of(study), comparisons.Thresholds(3, (3, 4, 5)), settings)
    curves.write_curves(files["losses"], str(root / "curves.csv"))
    audit.write_audit(files["audit"], str(root / "audit.csv"), 3, settings)


def results_of(root: Path, study: dict, settings):
    from formsafe.report.results import Results

    tables = {name: str(root / f"{name}.csv") for name in ("scores", "summary", "comparisons", "curves", "audit")}
    files = {name: study["files"][name] for name in ("losses", "metrics", "corpus", "certificate", "examples")}
    files |= {"verdict": study["files"]["verdict"], "figures": sorted(map(str, root.glob("figures/*.svg")))}
    return Results(tables | files | {"paper": PAPER}, names_of(study), settings, 3)


def plot_figures(root: Path, study: dict, settings, model: str) -> None:
    from formsafe.report.figures.draw import plot_figures as plot
    from formsafe.report.registry import registered_names

    names, kinds = registered_names("figures"), ("svg", "png", "pdf")
    outputs = [str(root / f"figures/{name}_{model}.{kind}") for name in names for kind in kinds]
    plot(results_of(root, study, settings), model, outputs)


def write_tables(root: Path, study: dict, settings) -> None:
    from formsafe.report.registry import registered_names
    from formsafe.report.tables.write import write_tables as write

    names, kinds = registered_names("tables"), ("csv", "md", "tex")
    write(results_of(root, study, settings), [str(root / f"tables/{name}.{kind}") for name in names for kind in kinds])


def write_report(root: Path, study: dict, settings) -> None:
    from formsafe.report.pages.page import write_page

    template = str(ROOT / "workflow/report/report.html")
    described = {"title": "The paper's grid", "study": "paper", "licences": {}, "settings": {"harmful": {}}}
    write_page(results_of(root, study, settings), described, template, str(root / "report.html"))


def step(function, *arguments) -> None:
    """One step in a fresh process, with its settings."""
    from formsafe.config.settings.analysis import AnalysisSettings

    root, study, *rest = arguments
    function(root, study, AnalysisSettings(), *rest)


def measured(name: str, functions: list[tuple]) -> dict:
    """Wall and CPU seconds of steps that run side by side, a process each."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    workers = [multiprocessing.get_context("spawn").Process(target=step, args=each) for each in functions]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise SystemExit(f"{name} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"step": name, "seconds": round(time.perf_counter() - started, 2), "cpu_seconds": round(cpu, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results/paper"
        study = write_scores(root)
        measurements = []
        for _ in range(rounds):
            steps = [
                measured("summarise", [(summarise, root, study)]),
                measured("plot_figures, both models", [(plot_figures, root, study, model) for model in MODELS]),
                measured("write_tables", [(write_tables, root, study)]),
                measured("write_report", [(write_report, root, study)]),
            ]
            total = {key: round(sum(each[key] for each in steps), 2) for key in ("seconds", "cpu_seconds")}
            measurements.append({**total, "steps": steps})
            print(json.dumps(measurements[-1]))
        page = round((root / "report.html").stat().st_size / 1e6, 2)
    best = min(measurements, key=lambda each: each["seconds"])
    result = {
        "page_megabytes": page,
        "runs": len(study["runs"]),
        "answers_a_run": [1320, 100],
        "goal_seconds": GOAL,
        "seconds_each_round": [each["seconds"] for each in measurements],
        "cpu_seconds_each_round": [each["cpu_seconds"] for each in measurements],
        "fastest_round": best,
    }
    save("results_grid", result)
    print(f"{best['seconds']} s (goal {GOAL:.0f} s)")


if __name__ == "__main__":
    main()
