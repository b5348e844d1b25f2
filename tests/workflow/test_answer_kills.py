"""Kills at random moments lose no answer, double none and change not a byte of the answers."""

import json

from formsafe.generation.answers import JOURNAL
from tests.killing import SETS, answer, forking, run_whole, run_with_kills, write_prompts


def test_twenty_kills_leave_the_answers_byte_identical(talkative_model, tmp_path):
    write_prompts(tmp_path, talkative_model, 400)
    context = forking()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    seconds = run_whole(context, answer, tmp_path, whole)
    sizes = run_with_kills(context, answer, (tmp_path, killed), killed / JOURNAL, kills=20, seconds=seconds / 40)
    assert len(set(sizes)) > 10 and sizes == sorted(sizes)
    for name in SETS:
        assert (killed / f"{name}.jsonl").read_bytes() == (whole / f"{name}.jsonl").read_bytes()
        ids = [json.loads(line)["id"] for line in (killed / f"{name}.jsonl").read_text().splitlines()]
        assert ids == [f"{name}-{n}" for n in range(200)]
    metrics = json.loads((killed / "metrics.json").read_text())
    assert 0 < metrics["continued"] < 400 == sum(batch["rows"] for batch in metrics["batches"])
    assert not (killed / JOURNAL).exists()
