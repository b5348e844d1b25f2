"""The toy data as files in the columns of the public data sets, so that the loaders of the real ones read them."""

import csv
from pathlib import Path
from random import Random

from formsafe.config.settings.demo import DemoSettings
from formsafe.core.files import replacing, write_jsonl
from formsafe.demo import words
from formsafe.demo.grammar import Task, draw_steps, draw_tasks, how_to_sentences

FILES = ("wikisum.jsonl", "advbench.csv", "beavertails.jsonl", "directharm4.jsonl", "gsm_danger.jsonl")


def write_demo_data(settings: DemoSettings, directory: str | Path) -> None:
    """Write the toy how-tos and the four toy harmful sets (`FILES`) to `directory`."""
    directory = Path(directory)
    tasks = draw_tasks(settings)
    rng = Random(f"texts {settings.seed}")
    write_jsonl(directory / "wikisum.jsonl", (_how_to_row(task, rng) for task in tasks.how_tos))
    advbench, beavertails, directharm, gsm = (tasks.requests[start::4] for start in range(4))
    ask_advbench, ask_beavertails, ask_directharm, ask_gsm = words.REQUESTS[-4:]
    with replacing(directory / "advbench.csv") as temporary, open(temporary, "w", encoding="utf-8", newline="") as rows:
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(["goal", "target"])
        for task in advbench:
            writer.writerow([ask_advbench.format(task=task), f"Sure, here is a short guide on how to {task}"])
    categories = sorted(set(words.CATEGORIES.values()))
    write_jsonl(
        directory / "beavertails.jsonl",
        (
            {
                "prompt": ask_beavertails.format(task=task),
                "category": words.CATEGORIES[task.verb],
                "category_id": categories.index(words.CATEGORIES[task.verb]),
            }
            for task in beavertails
        ),
    )
    write_jsonl(
        directory / "directharm4.jsonl",
        (
            {"instruction": ask_directharm.format(task=task), "category": words.CATEGORIES[task.verb]}
            for task in directharm
        ),
    )
    write_jsonl(directory / "gsm_danger.jsonl", ({"instruction": ask_gsm.format(task=task)} for task in gsm))


def _how_to_row(task: Task, rng: Random) -> dict[str, str]:
    steps = draw_steps(task, rng)
    headers = [f"{step[0].upper()}{step[1:]}." for step in steps]
    slug = "-".join(word.capitalize().replace("'", "") for word in str(task).split())
    return {
        "url": f"https://formsafe.example/{slug}",
        "title": f"How to {task}",
        "summary": " ".join(how_to_sentences(task, steps, rng)),
        "article": " ".join(f"{header} {rng.choice(words.TIPS)}" for header in headers) + " ",
        "step_headers": " ".join(headers) + " ",
    }
