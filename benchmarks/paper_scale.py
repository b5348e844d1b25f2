"""What the whole paper costs at 7 and 8 billion parameters on one GPU: every stage, and the ways people use now.

    python benchmarks/paper_scale.py                                     # Llama-3.1-8B, within eight minutes
    python benchmarks/paper_scale.py --stages judge answers              # some stages only; others keep their figures
    python benchmarks/paper_scale.py --models llama-2-7b                 # adds the other model
    python benchmarks/paper_scale.py --gpu-memory-gb 24                  # all stages within 24 GB
    python benchmarks/paper_scale.py --small                             # the same code on a CPU, in seconds

Models have the real shapes and random weights made on the device; texts have the lengths of WikiSum and AdvBench. All
stages run through the library's own functions, which write their own metrics. Each stage runs on its own and is saved
when it ends; one that fails is noted and the next goes on; none begins after `--seconds`. Results go to
benchmarks/results/paper_scale_{gpu,small}.json. A projection of the paper's cost is made on a GPU only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = str(ROOT / "workflow" / "scripts")
sys.path[:0] = [SCRIPTS, str(ROOT / "benchmarks")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # as jobs have it (formsafe.models.devices)

import scale_floors as floors  # noqa: E402
import torch  # noqa: E402
from committed import measured  # noqa: E402
from scale_baselines import synchronise  # noqa: E402
from scale_control import FULL, TINY  # noqa: E402
from scale_projection import joined  # noqa: E402
from scale_stages import STAGES, Bench, failure  # noqa: E402

from formsafe.core.files import write_json  # noqa: E402
from formsafe.models import shapes  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
MODELS = {"llama-3.1-8b": shapes.LLAMA_3_1_8B, "llama-2-7b": shapes.LLAMA_2_7B}
SMALL = {"small": shapes.ModelShape(2, 64, 192, 4, 2, 16, 2048)}


def measure(
    models: Mapping[str, shapes.ModelShape], stages: Sequence[str], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Measure stages of models on the GPU, or on the CPU with `--small`; yield the results so far after each stage."""
    began, device = time.monotonic(), "cpu" if options.small else "cuda"
    torch.set_num_threads(options.threads)
    rates, startup = measured_rates(device), startup_seconds(device)
    memory_gb = options.gpu_memory_gb or "auto"
    found: dict[str, Any] = {}
    for name, shape in models.items():
        with tempfile.TemporaryDirectory() as folder:
            scale = TINY if options.small else FULL
            bench = Bench(name, shape, scale, rates, Path(folder), memory_gb, options.threads)
            found[name] = {}
            for stage in stages:
                if time.monotonic() - began > options.seconds:
                    print(f"{name}: {stage} is left out, {options.seconds:.0f} seconds are over", flush=True)
                    continue
                print(f"{name}: {stage}", flush=True)
                found[name][stage] = attempted(bench, stage)
                yield {
                    "measured": measured(),
                    "gpu_memory_gb": memory_gb,
                    "threads": options.threads,
                    "matrix_tera_operations_per_second": round(rates.operations / 1e12, 3),
                    "memory_giga_bytes_per_second": round(rates.bytes / 1e9, 1),
                    "startup_seconds": startup,
                    "models": found,
                }


def attempted(bench: Bench, stage: str) -> dict[str, Any]:
    """A stage's figures with the commit and the versions that they come from, or why it failed."""
    try:
        figures = bench.run(stage)
    except Exception as error:  # the other stages' figures are worth having, and a GPU is lent for minutes
        figures = failure(error)
        print(f"{stage} failed: {figures['failed']}", flush=True)
    record = measured()
    return {**figures, "git_commit": record["git_commit"], "torch": record["versions"]["torch"]}


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
    """Seconds in which a job's process starts, imports what its stage computes with, and initialises the device."""
    imported = "import torch, formsafe.training.stages, formsafe.scoring.judge, formsafe.generation.local_engine"
    lean = "from formsafe.core.startup import lean_imports, unused_imports"
    code = f"{lean}\nwith lean_imports(*unused_imports('nf4')):\n    {imported}\ntorch.zeros(1, device={device!r})"
    # Packages that the caller has put on PYTHONPATH must be found, too.
    path = os.pathsep.join(filter(None, (SCRIPTS, os.environ.get("PYTHONPATH"))))
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": path}
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


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny shapes, on the CPU")
    parser.add_argument("--models", nargs="+", default=["llama-3.1-8b"], choices=list(MODELS))
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--gpu-memory-gb", type=int, default=None, help="a tighter memory plan, e.g. 24")
    parser.add_argument("--seconds", type=float, default=440, help="no stage begins after so many (default 440)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if not options.small and not torch.cuda.is_available():
        raise SystemExit("No GPU here. --small runs the same code on tiny shapes; its figures say nothing about a GPU.")
    tight = "" if options.gpu_memory_gb is None else f"_{options.gpu_memory_gb}gb"
    out = options.out or RESULTS / f"paper_scale_{'small' if options.small else 'gpu'}{tight}.json"
    models = SMALL if options.small else {name: MODELS[name] for name in options.models}
    for result in measure(models, options.stages, options):
        write_json(out, joined(result, out))  # after each stage
    print(f"written to {out}")


if __name__ == "__main__":
    main()
