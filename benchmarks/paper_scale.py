"""What the whole paper costs at 7 and 8 billion parameters on one GPU: every stage, and the ways people use now.

    python benchmarks/paper_scale.py                          # one GPU, both models
    python benchmarks/paper_scale.py --models llama-3.1-8b    # one model; a second run adds the other
    python benchmarks/paper_scale.py --gpu-memory-gb 24       # all stages within 24 GB
    python benchmarks/paper_scale.py --small                  # the same code on shapes that a CPU computes in seconds

Models have the real shapes and random weights made on the device; texts have the lengths of WikiSum and AdvBench. All
stages run through the library's own functions, which write their own metrics. Results go to
benchmarks/results/paper_scale_{gpu,small}.json. A projection of the paper's cost is made on a GPU only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "benchmarks")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # as jobs have it (formsafe.models.devices)

import scale_floors as floors  # noqa: E402
import torch  # noqa: E402
from committed import measured  # noqa: E402
from scale_baselines import synchronise  # noqa: E402
from scale_control import FULL, TINY  # noqa: E402
from scale_stages import Bench  # noqa: E402

from formsafe.core.errors import FormsafeError  # noqa: E402
from formsafe.core.files import read_json, write_json  # noqa: E402
from formsafe.models import shapes  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
MODELS = {"llama-3.1-8b": shapes.LLAMA_3_1_8B, "llama-2-7b": shapes.LLAMA_2_7B}
SMALL = {"small": shapes.ModelShape(2, 64, 192, 4, 2, 16, 2048)}
STAGES = ("training", "answers", "judge")
# Jobs of the paper's grid by model (config/config.yaml), and what each does.
PAPER = {
    "llama-3.1-8b": {"soft_prompt": 3, "sft": 3, "promot": 7, "answers": 11, "judge": 18},
    "llama-2-7b": {"soft_prompt": 3, "sft": 3, "promot": 3, "answers": 7, "judge": 0},
}
PAPER_STEPS, PAPER_PROMPTS, PAPER_JUDGED = {"soft_prompt": 23, "sft": 90, "promot": 90}, 1420, 1320


def measure(
    models: dict[str, shapes.ModelShape], stages: list[str], *, small: bool, gpu_memory_gb: Any, threads: int
) -> Iterator[dict[str, Any]]:
    """Measure stages of models on the GPU, or on the CPU where `small`; yield the results so far after each stage."""
    device = "cpu" if small else "cuda"
    torch.set_num_threads(threads)
    rates, startup = measured_rates(device), startup_seconds(device)
    found: dict[str, Any] = {}
    for name, shape in models.items():
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(name, shape, TINY if small else FULL, rates, Path(folder), gpu_memory_gb, threads)
            found[name] = {}
            for stage in stages:
                print(f"{name}: {stage}", flush=True)
                found[name][stage] = getattr(bench, stage)()
                yield {
                    "measured": measured(),
                    "gpu_memory_gb": gpu_memory_gb,
                    "threads": threads,
                    "matrix_tera_operations_per_second": round(rates.operations / 1e12, 3),
                    "memory_giga_bytes_per_second": round(rates.bytes / 1e9, 1),
                    "startup_seconds": startup,
                    "models": found,
                }


def measured_rates(device: str) -> floors.Rates:
    """The device's own matrix rate (bf16 on a GPU, fp32 on a CPU) and bandwidth, the best of some tries."""
    size, dtype, moved = (512, torch.float32, 1 << 24) if device == "cpu" else (8192, torch.bfloat16, 1 << 31)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    source = torch.empty(moved, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    matrix = best_time(lambda: left @ right, device)
    copy = best_time(lambda: target.copy_(source), device)
    return floors.Rates("measured", 2 * size**3 / matrix, 2 * moved / copy)


def startup_seconds(device: str) -> float:
    """Seconds in which a job's process starts, imports what its stage computes with, and wakes the device."""
    modules = "torch, formsafe.training.stages, formsafe.scoring.judge, formsafe.generation.local_engine"
    command = [sys.executable, "-c", f"import {modules}; torch.zeros(1, device={device!r})"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    return round(best_time(lambda: subprocess.run(command, env=environment, check=True), "cpu", tries=2), 2)


def best_time(work: Callable[[], Any], device: str, tries: int = 8) -> float:
    """Shortest of some tries, in seconds."""
    times = []
    for _ in range(tries):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - started)
    return min(times)


def joined(result: dict[str, Any], earlier: Path) -> dict[str, Any]:
    """Add the models and stages that an earlier result of the same device has and this one lacks, and project the
    paper where all of it was measured on a GPU."""
    kept = read_json(earlier) if earlier.exists() else {}
    devices = [found.get("measured", {}).get("device") for found in (kept, result)]
    if devices[0] == devices[1] and kept.get("gpu_memory_gb") == result["gpu_memory_gb"]:
        for name, stages in kept["models"].items():
            result["models"][name] = stages | result["models"].get(name, {})
    complete = all({"training", "answers", "judge"} <= set(result["models"].get(name, {})) for name in PAPER)
    on_gpu = result["measured"]["peak_gpu_memory_bytes"] is not None
    whole = project(result["models"], result["startup_seconds"]) if complete and on_gpu else None
    return {**result, "whole_paper": whole}


def project(found: dict[str, Any], startup: float) -> dict[str, Any]:
    """Minutes of the whole paper from the measured stages and the start of each job. Reading the weights is left out,
    as that depends on the disk: how much there is to read is told beside it."""
    starts = sum(sum(jobs.values()) for jobs in PAPER.values())
    minutes = {"job starts": starts * startup / 60}
    for name, jobs in PAPER.items():
        stages = found[name]
        for stage, steps in PAPER_STEPS.items():
            one = stages["training"][stage]
            seconds = one["training_seconds"] / one["steps"] * steps + one["validation_seconds"]
            minutes[f"{name} {stage}"] = jobs[stage] * seconds / 60
        answers = stages["answers"]["formsafe"]
        each = answers["generation_seconds"] / answers["replies"]
        minutes[f"{name} answers"] = jobs["answers"] * PAPER_PROMPTS * each / 60
        if jobs["judge"]:
            judged = jobs["judge"] * PAPER_JUDGED
            minutes[f"{name} judge"] = judged / stages["judge"]["formsafe"]["judgements_per_second"] / 60
    weights = sum(sum(jobs.values()) * 2 * MODELS[name].parameters for name, jobs in PAPER.items())
    return {
        "minutes": {stage: round(value, 2) for stage, value in minutes.items()},
        "together": round(sum(minutes.values()), 1),
        "without": f"reading the weights, {weights / 1e9:.0f} GB over {starts} jobs",
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny shapes, on the CPU")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--gpu-memory-gb", type=int, default=None, help="a tighter memory plan, e.g. 24")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if "answers" in options.stages and "training" not in options.stages:
        parser.error("answers take the adapter that the stage training makes: name it, too")
    if not options.small and not torch.cuda.is_available():
        raise SystemExit("No GPU here. --small runs the same code on tiny shapes; its figures say nothing about a GPU.")
    tight = "" if options.gpu_memory_gb is None else f"_{options.gpu_memory_gb}gb"
    out = options.out or RESULTS / f"paper_scale_{'small' if options.small else 'gpu'}{tight}.json"
    models = SMALL if options.small else {name: MODELS[name] for name in options.models}
    try:
        for result in measure(
            models,
            options.stages,
            small=options.small,
            gpu_memory_gb=options.gpu_memory_gb or "auto",
            threads=options.threads,
        ):
            write_json(out, joined(result, out))  # after each stage: a GPU may be lent for minutes
    except FormsafeError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"written to {out}")


if __name__ == "__main__":
    main()
