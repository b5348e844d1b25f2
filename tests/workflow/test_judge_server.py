"""A judge behind a server in the real workflow: how it is reached makes nothing stale, what it is asked does."""

import json

import yaml

from tests.checkout import DEMO, copy_checkout, planned_jobs, snakemake
from tests.faulty_server import FaultyServer, completion, serving

RUN = "results/demo/runs/model=demo/method=base/format=none/lr=none/seed=none"
ALONE = ["--allowed-rules", "judge_answers", "--"]
SCORES = f"{RUN}/prompts=harmful/judge=policy/scores.jsonl"


def test_a_servers_address_and_patience_make_no_score_stale(tmp_path):
    checkout = copy_checkout(tmp_path / "formsafe")

    def configured(**server):
        overlay = {"judges": {"policy": {"generation": {"server": {"model": "j", **server}}}}}
        (checkout / "server.yaml").write_text(yaml.safe_dump(overlay))
        return [DEMO[0], DEMO[1], "server.yaml", *DEMO[2:]]

    def written(name, rows):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    ids = [f"h-{number}" for number in range(3)]
    written("results/demo/data/prompts/harmful.jsonl", [{"id": n, "source": "s", "prompt": "How?"} for n in ids])
    written(f"{RUN}/prompts=harmful/answers.jsonl", [{"id": n, "answer": "Wait."} for n in ids])
    with serving(FaultyServer(lambda number, body: ("text", completion("#thescore: 2")))) as server:
        snakemake(checkout, *configured(base_url=server.url, timeout_seconds=9.0), *ALONE, SCORES)
    assert len(server.bodies) == 3
    assert [json.loads(line)["score"] for line in (checkout / SCORES).read_text().splitlines()] == [2, 2, 2]

    elsewhere = {"base_url": "http://127.0.0.1:1/v1", "key_variable": "K", "timeout_seconds": 600.0, "concurrency": 1}
    assert planned_jobs(checkout, *configured(**elsewhere), *ALONE, SCORES) == {}
    for change in ({"model": "k"}, {"extra_body": {"top_k": 1}}):
        assert planned_jobs(checkout, *configured(**elsewhere | change), *ALONE, SCORES) == {"judge_answers": 1}
