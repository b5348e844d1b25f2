"""A stage that is killed at random and started again until it ends, in children of a process that imported PyTorch."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

from tests.talkative import prompts

SETS = ("harmful", "task")
ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    "formsafe.generation.answers",
    "formsafe.generation.local_engine",
    "transformers.models.llama.modeling_llama",
    "tests.killing",
]


def forking() -> ForkServerContext:
    """A context whose children start in milliseconds: they are forked from a process that has imported all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    # The server is given no sys.path, and says nothing of modules that it does not find.
    with mock.patch.dict(os.environ, PYTHONPATH=f"{ROOT / 'workflow' / 'scripts'}:{ROOT}"):
        run_whole(context, time.sleep, 0)
    return context


def write_prompts(folder: Path, model: Path, count: int) -> None:
    """The inputs of `answer`: two sets of prompts and the model's manifest."""
    for number, name in enumerate(SETS):
        asked = prompts(count)[number::2]
        rows = [{"id": f"{name}-{n}", "source": "s", "prompt": text} for n, text in enumerate(asked)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "model.json").write_text(json.dumps({"path": str(model), "files": {}}))


def answer(inputs: Path, output: Path) -> None:
    """Answer both sets in many small batches."""
    from formsafe.config.settings.generation import GenerationSettings
    from formsafe.config.settings.models import ModelSettings
    from formsafe.generation.answers import AnswerJob, answer_prompts

    path = json.loads((inputs / "model.json").read_text())["path"]
    job = AnswerJob(
        model_manifest=inputs / "model.json",
        prompts={name: inputs / f"{name}.jsonl" for name in SETS},
        answers={name: output / f"{name}.jsonl" for name in SETS},
        metrics=output / "metrics.json",
        model=ModelSettings(path=path, label="t", parameters=1e5, quantisation="none", device="cpu"),
        generation=GenerationSettings(max_new_tokens=24, token_budget=240),
        system_prompt=None,
        gpu_memory_gb="auto",
        code="c",
    )
    answer_prompts(job)


def run_whole(context: ForkServerContext, job: Callable[..., None], *arguments: Any) -> float:
    """Run the job to its end; return the seconds that it took."""
    started = time.monotonic()
    child = context.Process(target=job, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == 0
    return time.monotonic() - started


def run_with_kills(
    context: ForkServerContext,
    job: Callable[..., None],
    arguments: tuple[Any, ...],
    journal: Path,
    kills: int,
    seconds: float,
    seed: int = 0,
) -> list[int]:
    """Kill the job `kills` times at random moments and let it end at last.

    A fifth of the kills come while the job is starting, the others up to `seconds` after it has journalled something.

    Returns:
        The journal's size in bytes after each kill.
    """
    draw = random.Random(seed)
    sizes: list[int] = []
    for _ in range(kills):
        before = _size(journal)
        child = context.Process(target=job, args=arguments)
        child.start()
        if draw.random() < 0.8:
            _await_growth(child, journal, before)
        time.sleep(draw.uniform(0, seconds))
        assert child.is_alive(), "the job ended before its kill: give it more work"
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        sizes.append(_size(journal))
    run_whole(context, job, *arguments)
    return sizes


def _await_growth(child: BaseProcess, journal: Path, before: int) -> None:
    while child.is_alive() and _size(journal) <= before:
        time.sleep(0.001)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
