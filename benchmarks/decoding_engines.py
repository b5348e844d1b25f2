"""Which way of decoding is fastest, among those that write the same text: ours, and what transformers offers.

    python benchmarks/decoding_engines.py [--size demo|20m|8b] [--rounds 3]

A random model (20 M parameters, fp32 on a CPU; bf16 on a GPU) answers AdvBench-like prompts greedily. Some tokens of
its vocabulary end an answer, so that answers end at different lengths, as real ones do. The ways take turns; the ratios
are of rounds side by side, and all their texts are compared. On a CPU, seconds are CPU seconds of this process and all
its threads, which depend little on what else the machine does. Results go to
benchmarks/results/decoding_engines_{cpu,gpu}_SIZE.json.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from committed import save
from scale_baselines import synchronise
from scale_models import build_model, some_stops, spread_weights, write_folder, write_prompts

from formsafe.config.settings.generation import Decoding
from formsafe.core.files import read_jsonl
from formsafe.generation.journal import Journal
from formsafe.generation.local_engine import LocalEngine
from formsafe.generation.replies import Prompt
from formsafe.models.chat import render_prompt
from formsafe.models.load import Placement, load_tokenizer
from formsafe.models.shapes import LLAMA_3_1_8B, ModelShape

SIZES = {
    "tiny": ModelShape(2, 64, 192, 4, 2, 16, 1024, tied=True),
    "demo": ModelShape(4, 128, 352, 4, 2, 32, 1024, tied=True),
    "20m": ModelShape(10, 384, 1024, 6, 2, 64, 8192, tied=True),
    "8b": LLAMA_3_1_8B,
}
CACHES = ("dynamic", "static", "continuous")


def make_engines(folder: Path, shape: ModelShape, dtype: str, device: str, budget: int) -> dict[str, LocalEngine]:
    """Every engine by its cache, over one random model that ends its answers now and then: three are too many."""
    model: Any = build_model(folder, Placement(device, dtype, "none", "sdpa"))  # type: ignore[arg-type]
    spread_weights(model)
    engines = {}
    for cache in CACHES:
        engines[cache] = LocalEngine(load_tokenizer(folder), model, budget, cache=cache)  # type: ignore[arg-type]
        engines[cache].stop_ids = some_stops(shape)
    return engines


def answer(engine: LocalEngine, prompts: list[Prompt], decoding: Decoding) -> tuple[float, dict[str, Any]]:
    """Seconds, and the replies by prompt."""
    device = engine.model.device.type
    clock = time.perf_counter if device == "cuda" else time.process_time
    with tempfile.TemporaryDirectory() as folder:
        journal, started = Journal(Path(folder) / "journal", {}), clock()
        engine.complete(prompts, decoding, journal, "all")
        synchronise(device)
        return clock() - started, dict(journal.replies("all"))


def measure(size: str, count: int, new_tokens: int, rounds: int, budget: int, threads: int) -> dict[str, Any]:
    """Time every way `rounds` times, in turns, and compare the texts."""
    torch.set_num_threads(threads)
    device, shape = "cuda" if torch.cuda.is_available() else "cpu", SIZES[size]
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_folder(Path(scratch) / size, shape)
        rows = read_jsonl(write_prompts(Path(scratch) / "prompts.jsonl", count, shape))
        prompts = [Prompt(row["id"], row["prompt"]) for row in rows]
        decoding = Decoding(max_new_tokens=new_tokens)
        dtype = "bfloat16" if device == "cuda" else "float32"
        engines = make_engines(folder, shape, dtype, device, budget)
        lengths = [len(render_prompt(engines["dynamic"].tokenizer, prompt.text)) for prompt in prompts]
        seconds: dict[str, list[float]] = {cache: [] for cache in CACHES}
        replies: dict[str, dict[str, Any]] = {}
        for _ in range(rounds):
            for cache, engine in engines.items():
                took, replies[cache] = answer(engine, prompts, decoding)
                seconds[cache].append(took)
    texts = {cache: {id: reply["text"] for id, reply in found.items()} for cache, found in replies.items()}
    tokens = [reply["tokens"] for reply in replies["dynamic"].values()]
    return {
        "size": size,
        "parameters": shape.parameters,
        "dtype": dtype,
        "threads": threads,
        "prompts": count,
        "mean_prompt_tokens": round(statistics.mean(lengths), 1),
        "mean_answer_tokens": round(statistics.mean(tokens), 1),
        "most_new_tokens": new_tokens,
        "token_budget": budget,
        "ways": {
            cache: {
                "tokens_per_second": round(sum(tokens) / min(seconds[cache]), 1),
                "seconds": [round(value, 3) for value in seconds[cache]],
                "same_text_as_dynamic": round(
                    sum(texts[cache][id] == text for id, text in texts["dynamic"].items()) / count, 4
                ),
                "dynamic_is_faster_by": round(
                    statistics.median(a / b for a, b in zip(seconds[cache], seconds["dynamic"], strict=True)), 2
                ),
            }
            for cache in CACHES
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="20m")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--token-budget", type=int, default=32768)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    result = measure(
        options.size, options.prompts, options.new_tokens, options.rounds, options.token_budget, options.threads
    )
    for cache, figures in result["ways"].items():
        print(cache, figures)
    place = "gpu" if torch.cuda.is_available() else "cpu"
    save(f"decoding_engines_{place}_{options.size}", result)


if __name__ == "__main__":
    main()
