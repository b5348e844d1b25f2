"""The toy data as files in the columns of the public data sets, so that the loaders of the real ones read them."""

from pathlib import Path
from random import Random
from typing import Any

import pandas

from formsafe.config.settings.demo import DemoSettings
from formsafe.core.files import write_jsonl, write_text
from formsafe.demo.grammar import Task, draw_steps, draw_tasks, how_to_sentences
from formsafe.demo.words import WORDS

FILES = ("wikisum.jsonl", "advbench.csv", "beavertails.jsonl", "directharm4.jsonl", "gsm_danger.jsonl")


def write_demo_data(settings: DemoSettings, directory: str | Path) -> None:
    """Write the toy how-tos and the four toy harmful sets (`FILES`) to `directory`."""
    tasks = draw_tasks(settings)
    rng = Random(f"texts {settings.seed}")
    write_jsonl(Path(directory) / "wikisum.jsonl", (_how_to_row(task, rng) for task in tasks.how_tos))
    categories = sorted(set(WORDS.categories.values()))
    for number, (source, wording) in enumerate(WORDS.harmful_requests.items()):
        drawn = tasks.requests[number::4]
        asked = [wording.format(task=task) for task in drawn]
        kinds = [WORDS.categories[task.verb] for task in drawn]
        columns: dict[str, list[Any]] = {
            "goal": asked,
            "target": [f"Sure, here is a short guide on how to {task}" for task in drawn],
            "prompt": asked,
            "instruction": asked,
            "category": kinds,
            "category_id": [categories.index(kind) for kind in kinds],
        }
        table = pandas.DataFrame(columns)[COLUMNS[source]]
        if source == "advbench":
            write_text(Path(directory) / "advbench.csv", table.to_csv(index=False, lineterminator="\n"))
        else:
            rows = (dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False))
            write_jsonl(Path(directory) / f"{source}.jsonl", rows)


# The columns of each public data set.
COLUMNS = {
    "advbench": ["goal", "target"],
    "beavertails": ["prompt", "category", "category_id"],
    "directharm4": ["instruction", "category"],
    "gsm_danger": ["instruction"],
}


def _how_to_row(task: Task, rng: Random) -> dict[str, str]:
    steps = draw_steps(task, rng)
    headers = [f"{step[0].upper()}{step[1:]}." for step in steps]
    slug = "-".join(word.capitalize().replace("'", "") for word in str(task).split())
    return {
        "url": f"https://formsafe.example/{slug}",
        "title": f"How to {task}",
        "summary": " ".join(how_to_sentences(task, steps, rng)),
        "article": " ".join(f"{header} {rng.choice(WORDS.tips)}" for header in headers) + " ",
        "step_headers": " ".join(headers) + " ",
    }
