"""Answers of a server that the job starts, in the real workflow: by a stand-in with vLLM's command line."""

import json
import shlex
import sys

import yaml

from tests.checkout import DEMO, ROOT, copy_checkout, planned_jobs, snakemake

RUNS = "results/demo/runs/model=demo"
BASE = f"{RUNS}/method=base/format=none/lr=none/seed=none"
SFT = f"{RUNS}/method=sft/format=json/lr=6.5e-4/seed=0"
ALONE = ["--allowed-rules", "generate_answers", "--"]


def test_each_job_starts_a_server_for_its_own_model_and_adapter(tmp_path):
    checkout = copy_checkout(tmp_path / "formsafe")

    def configured(command, **server):
        (checkout / "served.yaml").write_text(
            yaml.safe_dump({"generation": {"server": {"command": command, **server}}})
        )
        return [DEMO[0], DEMO[1], "served.yaml", *DEMO[2:]]

    def written(name, text):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text)

    for kind in ("harmful", "task"):
        rows = [{"id": f"{kind}-{n}", "source": "s", "prompt": f"How does one paint {n} fences?"} for n in range(3)]
        written(f"results/demo/data/prompts/{kind}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    written("results/demo/models/demo.json", json.dumps({"path": "resources/demo/model", "files": {}}))
    written(f"{SFT}/adapter/adapter_model.safetensors", "weights")
    written(f"{SFT}/adapter/adapter_config.json", "{}")
    stand_in = shlex.join([sys.executable, str(ROOT / "tests/stand_in_server.py")])
    command = f"{stand_in} serve {{model}} --port {{port}} --enable-lora --lora-modules run={{adapter}}"
    targets = [f"{run}/answers.metrics.json" for run in (BASE, SFT)]
    snakemake(checkout, *configured(command), *ALONE, *targets)
    for run, opening in ((BASE, ""), (SFT, "[weights] ")):
        for kind in ("harmful", "task"):
            lines = (checkout / f"{run}/prompts={kind}/answers.jsonl").read_text().splitlines()
            told = [f"{opening}You asked: How does one paint {n} fences?" for n in range(3)]
            assert [json.loads(line)["answer"] for line in lines] == told
        metrics = json.loads((checkout / f"{run}/answers.metrics.json").read_text())
        assert metrics["server_command"] == command and metrics["engine"] == "server"
        log = (checkout / f"logs/demo/generate_answers/{run.removeprefix('results/demo/runs/')}.log").read_text()
        assert "server: Loading weights" in log and "fences" not in log
    assert planned_jobs(checkout, *configured(f"{command} --dtype float16"), *ALONE, *targets) == {
        "generate_answers": 2
    }
