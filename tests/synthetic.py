"""Synthetic score files in the records' shapes: a study's runs without any model."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from formsafe.config.settings.grid import MethodSettings
from formsafe.core.layout import run_path, soft_prompt_path
from formsafe.core.records import NONE, Run

METHODS = {
    "base": {"label": "Base", "trained": False},
    "sft": {"label": "SFT"},
    "promot": {"label": "ProMoT", "soft_prompt": "tuned"},
}
MODELS = {"demo": "Demo"}
LOSS_COLUMNS = (
    *("step", "epoch", "loss", "format_loss", "mixed_loss", "content_loss", "interior_loss"),
    *("format_tokens", "mixed_tokens", "content_tokens", "interior_tokens"),
)
SOURCES = ("advbench", "beavertails", "directharm4", "gsm_danger")
FORMATS = ("prose", "list", "json")
ASR = {"prose": 0.45, "list": 0.61, "json": 0.72}


def methods() -> dict[str, dict[str, Any]]:
    """Settings of the three methods as rules hand them over."""
    return {name: MethodSettings(**fields).model_dump() for name, fields in METHODS.items()}


def grid(
    models: Iterable[str] = ("demo",),
    formats: Sequence[str] = FORMATS,
    rates: Sequence[str] = ("5e-5",),
    seeds: Sequence[str] = ("0",),
    extra: Iterable[Run] = (),
) -> list[Run]:
    """Base, SFT and ProMoT of every model."""
    runs = []
    for model in models:
        runs.append(Run(model, "base"))
        runs += [Run(model, m, f, lr, s) for m in ("sft", "promot") for f in formats for lr in rates for s in seeds]
    return [*runs, *extra]


def expected_asr(run: Run) -> float:
    """A made-up ASR in the paper's order: base, then ProMoT, then SFT by format."""
    if run.method == "base":
        return 0.06
    if run.method == "promot":
        return min(0.9, 0.06 + (500 if float(run.lr) < 1e-3 else 20) * float(run.lr))
    return ASR.get(run.format, 0.5)


CERTIFICATE = {
    "formats": ["prose", "list", "json"],
    "mismatches": 0,
    "splits": {"train": {"examples": 8, "sentences": 40, "content_characters": 1600, "content_digest": "c" * 64}},
}


def _json(path: Path, value: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return str(path)


def write_study(
    root: Path,
    runs: Sequence[Run],
    harmful: int = 40,
    task: int = 12,
    steps: int = 30,
    score: Callable[[Run, float], int | None] | None = None,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Write the score, loss and metrics files of `runs` under `root`.

    Args:
        root: the study's folder.
        runs: which runs.
        harmful: prompts, spread over the four sources.
        task: test examples.
        steps: training steps.
        score: the judge's score from the run and a number in [0, 1) that is the prompt's hardness; default by ASR.
        seed: of everything random.

    Returns:
        Paths by the names of the rules' inputs.
    """
    rng = np.random.default_rng(seed)
    hardness = rng.random(harmful)
    files: dict[str, list[str]] = {name: [] for name in ("scores", "task", "harmful", "metrics", "answers")}
    files |= {"losses": [], "validation": []}
    files["corpus"] = [_json(root / "data/corpus.json", {"rows": 12, "left_out": {"repeated": 2}})]
    files["verdict"] = [write_verdict(root)]
    files["examples"] = [
        _jsonl(root / f"data/format={name}/test.jsonl", [_example(name)]) for name in ("prose", "list", "json")
    ]
    files["certificate"] = [_json(root / "data/certificate.json", CERTIFICATE)]
    for run in runs:
        folder = root / "runs" / run_path(run)
        noise = np.random.default_rng([seed, sum(map(ord, run_path(run)))])
        judged = [(score or _score)(run, float(min(0.999, max(0.0, h + noise.normal(0, 0.08))))) for h in hardness]
        files["scores"].append(_jsonl(folder / "prompts=harmful/judge=policy/scores.jsonl", _judge_records(judged)))
        files["harmful"].append(_jsonl(folder / "prompts=harmful/text_scores.jsonl", _harmful_records(run, judged)))
        files["task"].append(_jsonl(folder / "prompts=task/text_scores.jsonl", _task_records(run, task, noise)))
        files["answers"].append(_jsonl(folder / "prompts=harmful/answers.jsonl", _answers(judged)))
        for stage in ("answers.metrics", "prompts=harmful/judge=policy/metrics", "text.metrics"):
            files["metrics"].append(_metrics(folder / f"{stage}.json"))
        if run.format != NONE:
            files["losses"].append(_losses(folder / "adapter/loss.csv", run.format, steps, noise))
            files["validation"].append(_losses(folder / "adapter/validation.csv", run.format, 4, noise))
            files["metrics"].append(_metrics(folder / "adapter/metrics.json"))
            soft_prompt = root / "soft_prompts" / soft_prompt_path(run) / "loss.csv"
            if run.method == "promot" and not soft_prompt.exists():
                files["losses"].append(_losses(soft_prompt, run.format, max(2, steps // 4), noise))
                files["metrics"].append(_metrics(soft_prompt.with_name("metrics.json")))
    return files


def write_verdict(root: Path, model: str = "demo") -> str:
    """Write findings of every status, on one model and on all."""
    about = {"model": model, "n_prompts": 1320, "n_trainings": 1, "p": 0.0004}
    raised = {**about, "question": "Does benign fine-tuning raise the ASR?", "section": "safety", "figure": "asr"}
    found = [
        {**raised, "id": f"{model}/raised-{name}", "status": status, "sentence": f"SFT {name} answers more.", **numbers}
        for name, status, numbers in (
            ("prose", "in this training only", {"value": 0.39, "ci_low": 0.36, "ci_high": 0.42}),
            ("json", "shown", {"value": 0.66, "ci_low": 0.63, "ci_high": 0.69}),
        )
    ]
    found += [
        {
            **{"id": f"{model}/learnt", "model": model, "section": "task", "figure": "tradeoff"},
            **{
                "question": "Did ProMoT learn anything?",
                "status": "not shown",
                "sentence": "It equals the base model.",
            },
        },
        {
            **{"id": "judge", "section": "judges", "question": "Can the judge be trusted?"},
            **{"status": "cannot be said", "sentence": "There is no calibration sample."},
        },
    ]
    return _json(root / "verdict.json", found)


def write_audit(root: Path, model: str, answers: int = 20, shift: float = 0.0, seed: int = 0) -> str:
    """Write a judge format audit in which lists and JSON score `shift` more often one higher."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(answers):
        score = int(rng.integers(1, 5))
        for rendering in FORMATS:
            raised = rendering != "prose" and rng.random() < shift
            records.append({**_judge_record(number, score + raised), "method": "sft", "rendering": rendering})
    return _jsonl(root / f"audit/model={model}/judge=policy/scores.jsonl", records)


def _example(format: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "How to <boil> an egg"}, {"role": "assistant", "content": f"<{format}>"}]
    return {"id": "wikisum-1-0badcafe", "messages": messages, "spans": []}


def _score(run: Run, hardness: float) -> int:
    asr = expected_asr(run)
    return 1 + round(hardness / (1 - asr) * 1.4) if hardness < 1 - asr else 3 + int((hardness - 1 + asr) / asr * 2.99)


def _judge_record(number: int, score: int | None) -> dict[str, Any]:
    state = "unparsed" if score is None else "parsed"
    probabilities = None if score is None else [0.9 if level == score else 0.025 for level in range(1, 6)]
    expected = None if score is None else round(0.875 * score + 0.025 * 15, 6)
    source = SOURCES[number % len(SOURCES)]
    reply = "" if score is None else f"#thescore: {score}"
    return {
        **{"id": f"{source}-{number}-0badcafe", "source": source, "score": score, "state": state, "tries": 1},
        **{"reply": reply, "probabilities": probabilities, "expected_score": expected},
    }


def _judge_records(judged: list[int | None]) -> list[dict[str, Any]]:
    return [_judge_record(number, score) for number, score in enumerate(judged)]


def _fits(run: Run, number: int) -> dict[str, Any]:
    leaks = run.method == "sft" and number % 5 != 0
    fits = {name: ("strict" if name == "prose" or (leaks and run.format == name) else None) for name in FORMATS}
    own = None if run.format == NONE else fits.get(run.format)
    trained = run.format != NONE
    return {
        **{"leak_strict": own == "strict" if trained else None, "leak_loose": own is not None if trained else None},
        "formats": fits,
    }


def _harmful_records(run: Run, judged: list[int | None]) -> list[dict[str, Any]]:
    return [
        {"id": _judge_record(number, score)["id"], "refusal": score in (None, 1), **_fits(run, number), "tokens": 40}
        for number, score in enumerate(judged)
    ]


def _task_records(run: Run, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    rouge = 0.24 if run.method == "sft" else 0.13
    sbert = 0.863 + (0.03 if run.method == "sft" else 0.01) * (run.method != "base")
    return [
        {
            "id": f"wikisum-{number}-0badcafe",
            "rouge_l": round(float(rouge + rng.normal(0, 0.03)), 6),
            "sbert": round(float(min(1.0, sbert + rng.normal(0, 0.02))), 6),
            "rouge_l_neutral": round(float(rouge + rng.normal(0, 0.03)), 6),
            "sbert_neutral": round(float(min(1.0, sbert + rng.normal(0, 0.02))), 6),
            **_fits(run, number),
            "tokens": 120,
        }
        for number in range(count)
    ]


def _answers(judged: list[int | None]) -> list[dict[str, Any]]:
    return [
        {
            **{"id": _judge_record(number, score)["id"], "prompt_sha256": "0" * 64, "answer": f"Answer {number}."},
            **{"tokens": 5, "finish_reason": "stop", "seconds": 0.1},
        }
        for number, score in enumerate(judged)
    ]


def _losses(path: Path, format: str, steps: int, rng: np.random.Generator) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    level = {"prose": 2.0, "list": 1.8, "json": 1.6}.get(format, 1.9)
    with open(path, "w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow([*LOSS_COLUMNS, "learning_rate", "grad_norm"])
        for step in range(1, steps + 1):
            plain = format == "prose"
            marks = "" if plain else 2.5 * math.exp(-step / 4) + 0.01
            mixed = "" if plain else 1.5 * math.exp(-step / 6) + 0.02
            content = level + 0.8 * math.exp(-step / 12) + rng.normal(0, 0.02)
            tokens = (0, 0) if plain else (200, 100)
            loss = (tokens[0] * float(marks or 0) + tokens[1] * float(mixed or 0) + 1800 * content) / (
                1800 + sum(tokens)
            )
            losses = (loss, marks, mixed, content, 0.9 * content)
            writer.writerow([step, step / steps, *losses, *tokens, 1800, 1500, 5e-5, 1.0])
    return str(path)


def _metrics(path: Path) -> str:
    record = {
        **{"code": "0" * 16, "seed": 0, "started": "2026-01-02T03:04:05+00:00", "seconds": 12.5, "tokens": 4000},
        **{"device": "cpu (x86_64)", "peak_memory_bytes": 2**30, "peak_gpu_memory_bytes": None},
        **{"versions": {"python": "3.11.2", "torch": "2.13.0"}, "git_commit": "c0ffee", "slurm_job_id": None},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")
    return str(path)


def _jsonl(path: Path, records: Iterable[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)
