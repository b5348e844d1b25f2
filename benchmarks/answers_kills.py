"""What kills do to answers: a job is killed 20 times at random moments and started again each time.

    python benchmarks/answers_kills.py

The job answers 400 prompts in some 140 batches with a small random model; a fifth of the kills meet it while it starts,
the others at work. The files at the end are compared byte by byte with those of a job that nobody killed. Results go to
benchmarks/results/answers_kills.json.
"""

import json
import os
import tempfile
from pathlib import Path

from committed import save

os.environ["OMP_NUM_THREADS"] = "1"

from formsafe.generation.answers import JOURNAL
from tests.killing import SETS, answer, forking, run_whole, run_with_kills, write_prompts
from tests.talkative import write_talkative_model
from tests.tiny import write_tiny_model

PROMPTS, KILLS = 400, 20


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_talkative_model(write_tiny_model(folder / "tiny"), folder / "talkative")
        write_prompts(folder, model, PROMPTS)
        whole, killed, context = folder / "whole", folder / "killed", forking()
        seconds = run_whole(context, answer, folder, whole)
        sizes = run_with_kills(context, answer, (folder, killed), killed / JOURNAL, KILLS, seconds / 40)
        answers = [(killed / f"{part}.jsonl").read_bytes() for part in SETS]
        ids = [json.loads(line)["id"] for content in answers for line in content.splitlines()]
        metrics = json.loads((killed / "metrics.json").read_text())
        result = {
            "prompts": PROMPTS,
            "batches": len(metrics["batches"]),
            "kills": len(sizes),
            "kills_that_found_new_work_done": len(set(sizes)),
            "lost": PROMPTS - len(set(ids)),
            "doubled": len(ids) - len(set(ids)),
            "byte_identical": answers == [(whole / f"{part}.jsonl").read_bytes() for part in SETS],
        }
    save("answers_kills", result)


if __name__ == "__main__":
    main()
