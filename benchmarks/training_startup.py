"""Seconds from the start of a training job's process to the end of its first step, on a model of the demo's size.

    python benchmarks/training_startup.py

Runs the script `train_adapter.py` as Snakemake would, with and without its lean imports in turn, and kills it when the
first step's checkpoint lies on disk (written after every step here, which adds a little). Wall-clock and CPU seconds of
the process: on a machine that is busy with other things only the latter mean anything.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from committed import ROOT, save

CHILD = """
import json, runpy, sys
from contextlib import nullcontext
from types import SimpleNamespace

sys.path.insert(0, {scripts!r})
if not {lean}:
    import formsafe.core.startup
    formsafe.core.startup.lean_imports = lambda *left_out: nullcontext()
job = json.loads(sys.argv[1])
config = job.pop("config")
fields = {{name: SimpleNamespace(**value) for name, value in job.items()}}
snakemake = SimpleNamespace(**fields, config=config, log=[{log!r}], resources={{}})
runpy.run_path({script!r}, init_globals={{"snakemake": snakemake}})
"""


def write_job(folder: Path) -> dict[str, Any]:
    """Write model and data; what Snakemake would hand to the script."""
    from tests.tiny import write_tiny_model
    from tests.training_cases import adapter_settings, job

    model = write_tiny_model(folder / "model", hidden=128, layers=4, vocabulary=1024)
    own = job(folder, model, rows=640)
    settings = adapter_settings(batch_size=16, dropout=0.01)
    return {
        "config": {"training": {"checkpoint_minutes": 1e-9}},
        "input": {"model": str(own["manifest"]), "train": str(own["train"]), "validation": str(own["validation"])}
        | {"soft_prompt": []},
        "output": {"metrics": str(folder / "out" / "metrics.json")},
        "params": {
            "model": own["model"].model_dump(),
            "adapter": settings.model_dump(),
            "training": own["training"].model_dump(),
            "learning_rate": 1e-3,
            "system_prompt": None,
            "seed": 0,
            "gpu_memory_gb": "auto",
            "code": "",
        },
    }


def start_once(folder: Path, fields: dict[str, Any], lean: bool) -> tuple[float, float]:
    """Wall-clock and CPU seconds to the first step."""
    scratch = folder / "out" / ".checkpoints"
    shutil.rmtree(scratch, ignore_errors=True)
    scripts = ROOT / "workflow" / "scripts"
    code = CHILD.format(
        scripts=str(scripts), lean=lean, log=str(folder / "log.txt"), script=str(scripts / "train_adapter.py")
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(fields)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    while not (scratch / "checkpoint-1").exists():
        if child.poll() is not None:
            raise SystemExit((folder / "log.txt").read_text()[-3000:])
        time.sleep(0.005)
    seconds = time.monotonic() - begun
    child.kill()
    child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = {"lean imports": [], "all imports": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fields = write_job(folder)
        for _ in range(options.rounds + 1):
            taken["lean imports"].append(start_once(folder, fields, lean=True))
            taken["all imports"].append(start_once(folder, fields, lean=False))
    result: dict[str, Any] = {}
    for name, rounds in taken.items():
        wall, cpu = zip(*rounds[1:], strict=True)  # the first round warms the file cache
        result[name] = {
            "wall_seconds": {"median": round(statistics.median(wall), 2), "best": round(min(wall), 2)},
            "cpu_seconds": {"median": round(statistics.median(cpu), 2), "best": round(min(cpu), 2)},
        }
    save("training_startup", result | {"rounds": options.rounds})


if __name__ == "__main__":
    main()
