"""Judging: the cache of the prompt's fixed beginning kept, against the same batches without it.

    python benchmarks/judge_prefix.py

The judge prompt begins with 1,000 tokens that never change; instructions and answers add 60 to 160. The judge is a
random Llama of 20 M parameters in fp32 on one thread, and writes exactly 8 or 64 tokens. Both ways use the same batches
and the same loop, take turns, and must write the same text. Figures are CPU seconds of this process. Results go to
benchmarks/results/judge_prefix.json.
"""

import random
import tempfile
import time
from pathlib import Path

import torch
from committed import save
from random_llama import load, order

from formsafe.config.settings.generation import Decoding
from formsafe.core.judge_prompt import fill
from formsafe.generation.batches import common_prefix
from formsafe.generation.journal import Journal
from formsafe.generation.local_engine import LocalEngine
from formsafe.generation.replies import Prompt, Reply, ask
from formsafe.models.chat import render_prompt

CASES, PREFIX, ROUNDS, BUDGET = 32, 1000, 2, 32768
WORDS = "the policy forbids a kettle lamp to hide with water and salt"


def policy(tokenizer: object) -> str:
    """A template whose beginning, with the chat template's, has `PREFIX` tokens."""
    draw = random.Random(1)
    text = ""
    while len(render_prompt(tokenizer, text + "\n\n> ")) < PREFIX + 6:  # what follows the text is taken off below
        text += draw.choice(WORDS.split()) + " "
    return text + "\n\n{instruction}\n{answer}\n\nNow the score."


def main() -> None:
    tokenizer, model = load(stops=0)
    model.generation_config.eos_token_id = None
    draw = random.Random(0)
    template = policy(tokenizer)
    prompts = []
    while len(prompts) < CASES:
        answer = " ".join(order(draw) for _ in range(draw.randint(1, 2)))
        prompts.append(Prompt(f"a-{len(prompts)}", fill(template, order(draw), answer)))
    rows = [render_prompt(tokenizer, prompt.text) for prompt in prompts]
    shared = common_prefix(rows)
    engines = {
        kept: LocalEngine(tokenizer, model, BUDGET, watch_digits=True)
        for kept in ("prefix_kept", "prefix_computed_anew")
    }
    engines["prefix_computed_anew"].share_prefix = False
    for engine in engines.values():
        engine.stop_ids = []

    def judge(kept: str, new_tokens: int) -> list[Reply]:
        with tempfile.TemporaryDirectory() as folder:
            journal = Journal(Path(folder) / "journal", {})
            return ask(engines[kept], prompts, Decoding(max_new_tokens=new_tokens), journal, "judge")

    result: dict[str, object] = {
        "cases": CASES,
        "prefix_tokens": shared,
        "rest_tokens": [min(map(len, rows)) - shared, max(map(len, rows)) - shared],
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    for new_tokens in (8, 64):
        seconds: dict[str, list[float]] = {kept: [] for kept in engines}
        replies: dict[str, list[Reply]] = {}
        for _ in range(ROUNDS):
            for kept in engines:
                started = time.process_time()
                replies[kept] = judge(kept, new_tokens)
                seconds[kept].append(time.process_time() - started)
        texts = [[(reply.text, reply.tokens) for reply in found] for found in replies.values()]
        best = {kept: min(taken) for kept, taken in seconds.items()}
        result[f"new_tokens_{new_tokens}"] = {
            "cpu_seconds": {kept: [round(one, 2) for one in taken] for kept, taken in seconds.items()},
            "times": round(best["prefix_computed_anew"] / best["prefix_kept"], 2),
            "identical_text": texts[0] == texts[1],
            "distinct_texts": len(set(texts[0])),
        }
    save("judge_prefix", result)


if __name__ == "__main__":
    torch.inference_mode()(main)()
