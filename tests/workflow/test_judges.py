"""The demo study with three judges, and labels of two people, through to the corrected figures."""

import csv
import json
import random

import pytest
import yaml
from snakemake.utils import update_config

from formsafe.config.loading import load_study, runs_of
from formsafe.core.layout import Layout
from tests.checkout import DEMO, copy_checkout, planned_jobs, run, snakemake
from tests.faulty_server import FaultyServer, completion, serving

SAMPLE, PROMPTS = 60, 24
JUDGES = {
    "classifier": {
        "model": "demo",
        "prompt": "workflow/prompts/judge_yes_no.txt",
        "parser": "label",
        "labels": {"yes": True, "no": False},
    },
    "rubric": {
        "model": "demo",
        "prompt": "workflow/prompts/judge_strongreject.txt",
        "parser": "json",
        "fields": ["specific", "convincing"],
        "refused_field": "refused",
    },
}


def harmful(text: str) -> bool:
    """What the people of this test think: whatever does not begin with a refusal."""
    return "sorry" not in text.lower()[:60] and bool(text.strip())


def reply(number, body):
    """Both served judges see a refusal as one; the classifier misses harm in every JSON answer."""
    text = body["messages"][-1]["content"]
    if "#thescore" in text:
        said = text.split("Reply:\n> ")[1]
        return "text", completion(f"#thescore: {5 if harmful(said) else 1}")
    judged = text.split("The assistant's answer:\n")[1].split("\n\nThe case ends here")[0].replace("> ", "")
    if "yes or no" in text:
        return "text", completion("yes" if harmful(judged) and "{" not in judged else "no")
    grade = 4 if harmful(judged) else 1
    said = {"refused": not harmful(judged), "specific": grade, "convincing": 5 if harmful(judged) else 1}
    return "text", completion(f"It answers.\n{json.dumps(said)}")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The demo's runs with answers made here, three judges behind a server, labels by two people, and judges.csv."""
    checkout = copy_checkout(tmp_path_factory.mktemp("judges") / "formsafe")
    arguments = [DEMO[0], DEMO[1], "judges.yaml", *DEMO[2:]]
    rules = ["--allowed-rules", "judge_answers", "draw_labels", "labels", "compare_judges", "--"]
    layout = Layout("demo")

    def configured(server, **labels):
        served = {"generation": {"server": {"base_url": server.url, "model": "j"}, "max_new_tokens": 64}}
        judges = {name: {**entry, **served} for name, entry in {"policy": {}, **JUDGES}.items()}
        judging = {"judges": list(judges)}
        overlay = {"judges": judges, "judging": judging, "labels": {"sample": SAMPLE, **labels}}
        (checkout / "judges.yaml").write_text(yaml.safe_dump(overlay))
        return load_study(overlaid(checkout))

    def write(path, rows):
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).write_text("".join(json.dumps(row) + "\n" for row in rows))

    with serving(FaultyServer(reply)) as server:
        runs = runs_of(configured(server))
        write(layout.prompts("harmful"), [{"id": f"h{n}", "source": "s", "prompt": "How?"} for n in range(PROMPTS)])
        for number, run_ in enumerate(runs):
            texts = [answer(run_.format, n, number) for n in range(PROMPTS)]
            write(layout.answers(run_, "harmful"), [{"id": f"h{n}", "answer": text} for n, text in enumerate(texts)])
        snakemake(checkout, *arguments, *rules, "labels", "results/demo/judges.csv")
        before = read(checkout)
        sheet = checkout / "results/demo/labels/sheet.csv"
        for rater, flips in (("anna", 0.0), ("ben", 0.1)):
            fill(sheet, checkout / f"{rater}.csv", flips)
        configured(server, files=["anna.csv", "ben.csv"], fewest=5)
        plan = planned_jobs(checkout, *arguments, *rules, "results/demo/judges.csv")
        snakemake(checkout, *arguments, *rules, "results/demo/judges.csv")
    return checkout, before, plan


def overlaid(checkout):
    """The demo's configuration with the overlay, as Snakemake merges them."""
    merged = {}
    for name in ("config/config.yaml", "config/demo.yaml", "judges.yaml"):
        update_config(merged, yaml.safe_load((checkout / name).read_text()))
    return merged


def answer(format, number, run):
    """Every third answer of the base model helps, and more of the others."""
    if number % 3 and number % (run + 2):
        return "I'm sorry, but I can't help with that."
    return '{"procedure": ["Take it.", "Hide it."]}' if format == "json" else "Take it. Hide it."


def read(checkout):
    with open(checkout / "results/demo/judges.csv", newline="") as lines:
        return list(csv.DictReader(lines))


def fill(sheet, target, flips):
    draw = random.Random(1)
    with open(sheet, newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        row["label"] = "harmful" if harmful(row["answer"]) != (draw.random() < flips) else "harmless"
    with open(target, "w", newline="") as lines:
        table = csv.DictWriter(lines, rows[0])
        table.writeheader()
        table.writerows(rows)


def cell(rows, judge, figure, group="all"):
    (row,) = [row for row in rows if (row["judge"], row["figure"], row["group"]) == (judge, figure, group)]
    return row


def test_three_judges_score_every_answer(study):
    _, rows, _ = study
    conditions = {row["group"] for row in rows if row["figure"] == "asr_judged"} - {"all"}
    assert len(conditions) == 9
    for judge in ("policy", *JUDGES):
        assert {row["group"] for row in rows if (row["judge"], row["figure"]) == (judge, "asr_judged")} > conditions
    assert -1 <= float(cell(rows, "policy | rubric", "kappa")["value"]) <= 1
    assert not any(row["figure"] == "asr_corrected" for row in rows)


def test_labels_rerun_no_judge(study):
    assert study[2] == {"compare_judges": 1}


def test_judges_are_calibrated_and_the_asr_is_corrected(study):
    rows = read(study[0])
    for judge in ("policy", *JUDGES):
        row = cell(rows, judge, "asr_corrected")
        assert 0 <= float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]) <= 1
        assert SAMPLE * 0.8 < int(row["n"]) <= SAMPLE
    assert float(cell(rows, "rubric", "specificity")["value"]) > 0.85
    judged, corrected = (float(cell(rows, "classifier", f"asr_{kind}")["value"]) for kind in ("judged", "corrected"))
    assert judged < corrected  # it misses harm in JSON
    assert 0.5 < float(cell(rows, "rater anna | rater ben", "kappa")["value"]) < 1


def test_labels_of_another_draw_are_an_error(study):
    checkout, _, _ = study
    path = checkout / "anna.csv"
    kept = path.read_text()
    path.write_text(kept.replace(kept.splitlines()[1].split(",")[0], "ffffffffffff"))
    arguments = [DEMO[0], DEMO[1], "judges.yaml", *DEMO[2:]]
    rules = ("--allowed-rules", "compare_judges", "--")
    command = ("-m", "snakemake", *arguments, *rules, "results/demo/judges.csv")
    done = run(checkout, ".venv/bin/python", *command, check=False)
    log = (checkout / "logs/demo/compare_judges.log").read_text()
    path.write_text(kept)
    assert done.returncode and "not in the sample" in log and "missing rows" in log
