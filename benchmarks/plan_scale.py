"""What planning costs: seconds and memory of a dry run from 200 to 12,000 jobs, and of parsing the Snakefile.

    python benchmarks/plan_scale.py

Each plan is a process of its own on a copy of the checkout with six formats. Snakemake's share is what it takes for
the same graph of jobs in a bare Snakefile: the same files, no parameters, no library. CPU seconds are given beside
wall-clock seconds, since they depend less on what else the machine does.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from committed import save

from tests.checkout import copy_checkout

# models, learning rates, seeds; the methods are base, sft and promot, the formats six
SIZES = [(1, 1, 2), (2, 2, 2), (4, 4, 2), (8, 5, 2), (16, 5, 2), (20, 5, 2)]
FORMATS = ["prose", "list", "json", "variant0", "variant1", "variant2"]
VARIANT = """
from formsafe.formats.list import List


class Variant(List):
    name = "{name}"


FORMAT = Variant()
"""
MEASURED = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
wall = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
print(json.dumps([done.returncode, wall, cpu, memory, done.stdout + done.stderr]))
"""
BARE = """
RUNS = {runs!r}
PROMPTS = {prompts!r}
STAGES = ["answers", "scores", "text_scores", "manifest"]
rule all:
    input: "bare/summary"
rule prompt:
    output: expand("bare/prompt/{{{{name}}}}/{{part}}", part=range(5))
rule train:
    input: lambda wildcards: [f"bare/prompt/{{RUNS[wildcards.run]}}/4"] if RUNS[wildcards.run] else []
    output: expand("bare/{{{{run}}}}/adapter/{{part}}", part=range(5))
rule generate:
    input: "bare/{{run}}/adapter/4"
    output: expand("bare/{{{{run}}}}/answers/{{part}}", part=range(3))
rule judge:
    input: "bare/{{run}}/answers/0"
    output: expand("bare/{{{{run}}}}/scores/{{part}}", part=range(2))
rule texts:
    input: "bare/{{run}}/answers/0", "bare/{{run}}/answers/1"
    output: expand("bare/{{{{run}}}}/text_scores/{{part}}", part=range(3))
rule describe:
    input: "bare/{{run}}/answers/2", "bare/{{run}}/scores/1", "bare/{{run}}/text_scores/2"
    output: "bare/{{run}}/manifest"
rule summarise:
    input: expand("bare/{{run}}/{{file}}", run=RUNS, file=["scores/0", "text_scores/0", "text_scores/1", "manifest"])
    output: "bare/summary"
"""


def study(models: int, rates: int, seeds: int) -> dict:
    """An overlay of the configuration with a grid of this size."""
    names = [f"model-{number}" for number in range(models)]
    described = {
        name: {"hub": {"repo": f"nobody/{name}"}, "label": name, "parameters": 8.0e9, "path": None} for name in names
    }
    block = {"models": names, "methods": ["base", "sft", "promot"], "formats": FORMATS}
    learning_rates = [1.0e-5 * (number + 1) for number in range(rates)]
    return {
        "study": "scale",
        "models": described,
        "grid": [block | {"learning_rates": learning_rates, "seeds": list(range(seeds))}],
        "judges": {"policy": {"model": names[0]}},
    }


def bare(models: int, rates: int, seeds: int) -> str:
    """A Snakefile with the same runs and files, and nothing else."""
    keys = product(range(models), ("sft", "promot"), FORMATS, range(rates), range(seeds))
    runs = {f"{m}-{k}-{f}-{r}-{s}": f"{m}-{f}-{s}" if k == "promot" else "" for m, k, f, r, s in keys}
    return BARE.format(runs=runs, prompts=sorted(set(runs.values())))


def measure(directory: Path, *arguments: str) -> dict[str, float]:
    """Run Snakemake once; return jobs, wall-clock seconds, CPU seconds, peak memory (MB)."""
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "snakemake", "--nocolor", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True, env=environment)
    code, wall, cpu, memory, text = json.loads(done.stdout)
    if code:
        raise SystemExit(text[-3000:])
    found = re.search(r"^total +(\d+)", text, re.MULTILINE)
    return {
        "jobs": int(found[1]) if found else 0,
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_memory_mb": round(memory),
    }


def main() -> None:
    """Measure everything, print it and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--up-to", type=int, default=len(SIZES), help="number of sizes to measure")
    chosen = parser.parse_args()
    result: dict[str, Any] = {"plans": {}}
    with tempfile.TemporaryDirectory() as place:
        checkout = copy_checkout(Path(place) / "formsafe")
        for name in FORMATS[3:]:
            (checkout / f"workflow/scripts/formsafe/formats/{name}.py").write_text(VARIANT.format(name=name))
        plain = Path(place) / "bare"
        plain.mkdir()
        (plain / "Snakefile").write_text("rule all:\n")
        measure(checkout, "--list-rules")  # fills the caches that a checkout in use has
        for name, where in (("parse", checkout), ("parse_empty_snakefile", plain)):
            result[name] = min((measure(where, "--list-rules") for _ in range(5)), key=lambda row: row["cpu_seconds"])
        for size in SIZES[: chosen.up_to]:
            (checkout / "scale.yaml").write_text(yaml.safe_dump(study(*size)))
            (plain / "Snakefile").write_text(bare(*size))
            ours = measure(checkout, "--dry-run", "--quiet", "all", "--configfile", "scale.yaml")
            snakemakes = measure(plain, "--dry-run", "--quiet", "all")
            result["plans"][str(ours["jobs"])] = {"formsafe": ours, "bare_snakefile": snakemakes}
            print(ours, snakemakes, flush=True)
    save("plan_scale", result)


if __name__ == "__main__":
    main()
