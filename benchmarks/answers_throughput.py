"""Answering: planned batches against one prompt at a time and against batches of 16 in the order of the file.

    python benchmarks/answers_throughput.py

Prompts of the lengths of WikiSum's titles and of AdvBench's go through a random Llama of 20 M parameters in fp32 on one
thread; its answers end at different lengths, as real ones do. All ways must write the same text. The ways take turns;
figures are CPU seconds of this process. Results go to benchmarks/results/answers_throughput.json.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from committed import save
from random_llama import how_to, load, order

from formsafe.config.settings.generation import Decoding
from formsafe.generation.decoding import pad_left
from formsafe.generation.journal import Journal
from formsafe.generation.local_engine import LocalEngine
from formsafe.generation.replies import Prompt, ask
from formsafe.models.chat import render_prompt

PROMPTS, NEW_TOKENS, STOPS, ROUNDS = 96, 96, 6, 2
BUDGET = 32768  # what `auto` gives a small model on CPU


def main() -> None:
    tokenizer, model = load(STOPS)
    draw = random.Random(0)
    prompts = [Prompt(f"p-{n}", how_to(draw) if n % 3 == 0 else order(draw)) for n in range(PROMPTS)]
    rows = [render_prompt(tokenizer, prompt.text) for prompt in prompts]
    engine = LocalEngine(tokenizer, model, BUDGET)
    stops = set(engine.stop_ids)

    def generate(batch: list[list[int]]) -> list[str]:
        ids, mask = pad_left(batch, model.device)
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
        )[:, ids.shape[1] :].tolist()
        ends = [next((n for n, token in enumerate(row) if token in stops), len(row)) for row in out]
        return [tokenizer.decode(row[:end], skip_special_tokens=True) for row, end in zip(out, ends, strict=True)]

    def one_by_one() -> list[str]:
        return [text for row in rows for text in generate([row])]

    def fixed_batches() -> list[str]:
        return [text for at in range(0, len(rows), 16) for text in generate(rows[at : at + 16])]

    def planned_batches() -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            journal = Journal(Path(folder) / "journal", {})
            replies = ask(engine, prompts, Decoding(max_new_tokens=NEW_TOKENS), journal, "answers")
        lengths[:] = [reply.tokens or 0 for reply in replies]
        return [reply.text for reply in replies]

    lengths: list[int] = []
    generate(rows[:1])  # warm
    ways: list[Callable[[], list[str]]] = [planned_batches, fixed_batches, one_by_one]
    seconds: dict[str, list[float]] = {way.__name__: [] for way in ways}
    texts: dict[str, list[str]] = {}
    for _ in range(ROUNDS):
        for way in ways:
            started = time.process_time()
            found = way()
            seconds[way.__name__].append(time.process_time() - started)
            assert texts.setdefault(way.__name__, found) == found
    best = {name: min(taken) for name, taken in seconds.items()}
    result = {
        "prompts": PROMPTS,
        "prompt_tokens": [min(map(len, rows)), sum(map(len, rows)) / len(rows), max(map(len, rows))],
        "answer_tokens": [min(lengths), sum(lengths) / len(lengths), max(lengths)],
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "cpu_seconds": {name: [round(one, 2) for one in taken] for name, taken in seconds.items()},
        "tokens_per_cpu_second": {name: round(sum(lengths) / taken, 1) for name, taken in best.items()},
        "times_one_by_one": round(best["one_by_one"] / best["planned_batches"], 2),
        "times_fixed_batches_of_16": round(best["fixed_batches"] / best["planned_batches"], 2),
        "identical_text": texts["planned_batches"] == texts["fixed_batches"] == texts["one_by_one"],
    }
    save("answers_throughput", result)


if __name__ == "__main__":
    torch.inference_mode()(main)()
