"""The whole study: the demo from nothing to its report, and the paper's grid as a plan."""

import csv
import json
import re
import subprocess
import sys
from statistics import mean

import pytest

from tests.checkout import DEMO, ROOT, copy_checkout, planned_jobs, run, snakemake


@pytest.fixture(scope="module")
def summary(finished_demo):
    with open(finished_demo / "results/demo/summary.csv", newline="") as rows:
        return list(csv.DictReader(rows))


def test_every_run_has_asr_rouge_and_sbert(summary):
    runs = {tuple(row[key] for key in ("model", "method", "format", "lr", "seed")) for row in summary}
    assert len(runs) == 9
    for metric in ("asr", "rouge_l", "sbert"):
        measured = [row for row in summary if row["metric"] == metric]
        assert len(measured) == 9
        assert all(0 <= float(row["value"]) <= 1 and float(row["n"]) > 0 for row in measured)


def test_the_small_model_is_aligned_and_fine_tuning_changes_it(summary):
    asr = {(row["method"], row["format"]): float(row["value"]) for row in summary if row["metric"] == "asr"}
    assert asr["base", "none"] <= 0.05
    assert max(value for (method, _), value in asr.items() if method == "sft") > asr["base", "none"]


def test_every_run_says_what_made_it(finished_demo):
    manifests = [json.loads(path.read_text()) for path in finished_demo.glob("results/demo/runs/**/manifest.json")]
    assert len(manifests) == 9
    for manifest in manifests:
        format_ = manifest["run"]["format"]
        settings, sources = manifest["settings"], manifest["sources"]
        assert settings["corpus"]["splits"] == {"train": 640, "validation": 64, "test": 64}
        assert {"seed", "response_field", "instruction"} <= settings["corpus"].keys()
        assert {"count", "select", "seed", "digest"} <= settings["harmful"]["advbench"].keys()
        assert {"gpu_memory_gb", "model", "judge_models", "training", "generation", "judges"} <= settings.keys()
        for model in (sources["model"], *sources["judge_models"], sources["encoder"]):
            assert {"path", "repo", "revision", "files"} <= model.keys()
        assert len(sources["judge_models"]) == 1
        assert sources["format"]["format"] == ("prose" if format_ == "none" else format_)
        digests = [
            sources["format"]["splits"]["train"]["content_digest"],
            sources["corpus"]["digest"],
            *(source["digest"] for source in sources["harmful"]),
            *(source["digest"] for source in sources["prompts"]["sources"].values()),
        ]
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
        assert [source["name"] for source in sources["harmful"]] == list(settings["harmful"])
        stages = manifest["stages"].values()
        assert len(stages) >= 3 and manifest["seconds"] > 0
        for stage in stages:
            assert stage["code"] and stage["versions"]["python"] and stage["device"] and stage["seconds"] > 0
            assert {"git_commit", "seed", "started"} <= stage.keys()


TRAININGS = {
    "stage 1": "soft_prompts/model=demo/format=prose/seed=0",
    "sft": "runs/model=demo/method=sft/format=prose/lr=6.5e-4/seed=0/adapter",
    "stage 2": "runs/model=demo/method=promot/format=prose/lr=6.5e-4/seed=0/adapter",
}


@pytest.mark.parametrize("training", TRAININGS)
def test_the_demos_model_learns_as_on_record(finished_demo, training):
    """Golden losses of the whole chain, from the demo's model on.

    That model was trained here as well, and rounding that differs between CPUs grows through its training. Of three of
    them stage 1 ended up to 24 % apart, and the loss on format, which falls from 11 to 0.2, a step earlier or later and
    at half or twice as much. `test_golden_losses_of_sft_and_both_stages` starts from equal weights and is tight.
    """
    golden = json.loads((ROOT / "tests/golden/demo_losses.json").read_text())[training]
    with open(finished_demo / "results/demo" / TRAININGS[training] / "loss.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for column, expected in golden.items():
        found = [float(row[column]) for row in rows]
        assert found == pytest.approx(expected, rel=0.5, abs=expected[0] / 10), column
        last = len(expected) // 4
        assert mean(found[-last:]) == pytest.approx(mean(expected[-last:]), rel=0.4, abs=expected[0] / 20), column


@pytest.mark.parametrize("figure", ["asr", "loss", "tradeoff"])
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_figures_are_there(finished_demo, figure, suffix):
    assert (finished_demo / f"results/demo/figures/{figure}_demo.{suffix}").stat().st_size > 1000


def test_the_report_is_one_file(finished_demo):
    assert (finished_demo / "results/demo/report.html").stat().st_size > 100_000


def test_a_second_demo_has_nothing_to_do(finished_demo):
    assert planned_jobs(finished_demo, *DEMO) == {}


def test_harmful_text_stands_in_no_log_and_no_table(finished_demo):
    answers = []
    for path in finished_demo.glob("results/demo/runs/**/prompts=harmful/answers.jsonl"):
        answers += [line.split('"answer": "')[1][:60] for line in path.read_text().splitlines()]
    prompts = [
        line.split('"prompt": "')[1].split('"')[0]
        for line in (finished_demo / "results/demo/data/prompts/harmful.jsonl").read_text().splitlines()
    ]
    published = [*finished_demo.glob("logs/**/*.log"), *finished_demo.glob("results/demo/tables/*")]
    assert len(published) > 20
    for path in published:
        text = path.read_text()
        assert not [part for part in prompts if part in text], path
        assert not [part for part in answers if len(part) > 40 and part in text], path


def test_the_papers_grid_is_planned_without_network_or_gpu(tmp_path):
    checkout = copy_checkout(tmp_path / "formsafe")
    jobs = planned_jobs(checkout)
    assert (jobs["generate_answers"], jobs["judge_answers"]) == (18, 18)
    assert (jobs["train_adapter"], jobs["tune_soft_prompt"]) == (16, 6)


def test_every_job_for_the_cluster_asks_for_more_at_its_second_attempt(tmp_path):
    checkout = copy_checkout(tmp_path / "formsafe")
    texts = re.split(r"\nrule ", "\n".join(path.read_text() for path in checkout.glob("workflow/rules/*.smk")))[1:]
    sent = {text.split(":")[0] for text in texts if "resources:" in text and "localrule: True" not in text}
    sent -= {"project_adapter", "draw_soft_prompt", "measure_capability"}  # the demo has no job of these

    def requests(attempt: int) -> dict[str, tuple[int, int]]:
        plan = snakemake(checkout, "--dry-run", "--attempt", str(attempt), *DEMO).stdout
        jobs = re.findall(r"^rule (\w+):\n((?:    .*\n)+)", plan, re.MULTILINE)
        return {
            rule: tuple(int(re.search(rf" {name}=(\d+)[,\n]", job)[1]) for name in ("mem_mb", "runtime"))
            for rule, job in jobs
            if rule in sent
        }

    first, second = requests(1), requests(2)
    assert first.keys() == second.keys() == sent
    assert [rule for rule in sent if not all(a < b for a, b in zip(first[rule], second[rule], strict=True))] == []


def test_a_judge_behind_a_server_is_not_fetched(tmp_path):
    checkout = copy_checkout(tmp_path / "formsafe")
    (checkout / "served.yaml").write_text(
        "judges: {policy: {model: judge, generation: {server: {base_url: 'http://127.0.0.1:1/v1', model: big}}}}\n"
        "models: {judge: {hub: {repo: nobody/judge}, label: Judge, parameters: 8.0e+9}}\n"
    )
    jobs = planned_jobs(checkout, "--configfile", "config/demo.yaml", "served.yaml")
    assert (jobs["judge_answers"], jobs["fetch_model"]) == (9, 1)


def test_every_target_has_a_name_and_says_what_it_is():
    listed = subprocess.run(
        [sys.executable, "-m", "snakemake", "--list"], capture_output=True, text=True, check=True
    ).stdout
    for target in ("all", "data", "models", "adapters", "answers", "scores", "figures", "tables"):
        assert f"\n{target} (" in f"\n{listed}", target


def test_a_mistake_in_the_configuration_is_one_clear_error(tmp_path):
    checkout = copy_checkout(tmp_path / "formsafe")
    (checkout / "wrong.yaml").write_text("soft_prompt: {learning_rate: 1e-1}\n")
    failed = snakemake(checkout, "--dry-run", "--configfile", "wrong.yaml", check=False)
    assert failed.returncode != 0
    assert "soft_prompt.learning_rate: is the text '1e-1', not a number" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr


REAL = """
study: real
harmful:
  advbench: {{source: {{path: {data}/advbench/harmful_behaviors.csv}}, count: 8, rows: 520}}
  beavertails: {{source: {{path: {data}/beavertails_evaluation/test.jsonl}}, count: 8, rows: 700}}
  directharm4: {{source: {{path: {data}/directharm4/test.jsonl}}, count: 8, rows: 400}}
corpus:
  source: {{path: {data}/wikisum/train.jsonl}}
  rows: null
  splits: {{train: 6, validation: 2, test: 2}}
training: {{max_length: 1024}}
generation: {{max_new_tokens: 32}}
judging: {{audit: {{sample: 4}}}}
grid:
  - {{models: [demo], methods: [base, sft], formats: [json], learning_rates: [3.0e-3], seeds: [0]}}
"""


def test_a_study_on_data_nobody_here_wrote(finished_demo, real_data, tmp_path):
    """Real WikiSum rows and harmful prompts, the demo's model: through to scores and figures."""
    checkout = copy_checkout(tmp_path / "formsafe")
    run(checkout, "cp", "-r", "--preserve=timestamps", str(finished_demo / "resources"), "resources")
    run(checkout, "cp", "-r", "--preserve=timestamps", str(finished_demo / ".snakemake"), ".snakemake")
    (checkout / "real.yaml").write_text(REAL.format(data=real_data))
    arguments = ["--configfile", "config/demo.yaml", "real.yaml", "--cores", "2"]
    assert not {"train_demo_model", "write_demo_data"} & set(planned_jobs(checkout, *arguments, "scores"))
    snakemake(checkout, *arguments)
    with open(checkout / "results/real/summary.csv", newline="") as rows:
        asr = [row for row in csv.DictReader(rows) if row["metric"] == "asr"]
    assert len(asr) == 2
    assert (checkout / "results/real/figures/asr_demo.png").exists()
