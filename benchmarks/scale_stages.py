"""Each stage of a run at the real size, through the library's own functions, and beside the ways people use now."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import scale_baselines as baselines
import scale_floors as floors
import torch
from scale_control import (
    Scale,
    forced,
    fresh_memory,
    gigabytes,
    limit_memory,
    peak_memory,
    sharing,
)
from scale_models import (
    JUDGED_ANSWER,
    TITLES,
    answer_length,
    build_model,
    random_weights,
    write_folder,
    write_judge_files,
    write_prompts,
    write_training_data,
)

from formsafe.config.settings.generation import GenerationSettings
from formsafe.config.settings.judge import JudgeSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.training import AdapterSettings, LoraSettings, SoftPromptSettings, TrainingSettings
from formsafe.core.files import read_json, read_jsonl
from formsafe.generation.answers import AnswerJob, answer_prompts
from formsafe.generation.local_engine import load_engine
from formsafe.models import shapes
from formsafe.models.chat import render_prompt
from formsafe.models.context import read_context
from formsafe.models.load import ADAPTER_WEIGHTS, load_model, load_tokenizer, place
from formsafe.scoring.judge import Judging, judge_answers
from formsafe.training.checkpoints import save_adapter
from formsafe.training.stages import Inputs, add_adapter, add_soft_prompt, train_adapter, tune_soft_prompt

# In the order of their importance, since a GPU may be lent for minutes.
STAGES = (
    "sft",
    "trl",
    "answers",
    "judge",
    "promot",
    "soft_prompt",
    "judge_without_prefix",
    "loading",
    "generate_batch_8",
    "generate_batch_1",
)
AFTER_PREFIX = 81  # tokens that stand after the judge prompt's prefix, beside the answer


class Bench:
    """All stages of one model.

    Args:
        name: of the model.
        shape: its shape.
        scale: how much is measured.
        rates: measured rates of the device.
        folder: scratch.
        gpu_memory_gb: the memory plan.
        threads: CPU threads.
    """

    def __init__(
        self,
        name: str,
        shape: shapes.ModelShape,
        scale: Scale,
        rates: floors.Rates,
        folder: Path,
        gpu_memory_gb: Any,
        threads: int,
    ) -> None:
        self.name, self.shape, self.scale, self.rates = name, shape, scale, rates
        self.folder = write_folder(folder / name, shape)
        self.manifest, self.tokenizer = self.folder / "manifest.json", load_tokenizer(self.folder)
        self.memory, self.threads = gpu_memory_gb, threads
        limit_memory(gpu_memory_gb)
        self.model = ModelSettings(path=str(self.folder), label=name, parameters=float(shape.parameters))
        self.train = write_training_data(folder / "train.jsonl", scale.examples, shape)
        self.validation = write_training_data(folder / "validation.jsonl", scale.validation, shape, seed=1)
        self.prompts = write_prompts(folder / "prompts.jsonl", scale.prompts, shape)
        self.tasks = write_prompts(folder / "tasks.jsonl", scale.tasks, shape, words=TITLES)
        common = {"batch_size": 16, "gradient_accumulation": 2, "epochs": scale.epochs, "scheduler": "cosine"}
        self.soft_prompt = SoftPromptSettings(**common, warmup_steps=0, virtual_tokens=32, learning_rate=0.1)
        lora = LoraSettings(r=16, alpha=16, dropout=0.01, target_modules="all-linear")
        self.adapter = AdapterSettings(**common, warmup_steps=5, lora=lora)

    def run(self, stage: str) -> dict[str, Any]:
        """Measure one stage, whatever was measured before it."""
        fresh_memory()
        if stage in ("soft_prompt", "sft", "promot"):
            return self._train(stage)
        if stage.startswith("generate_batch_"):
            return self._generate(int(stage.rpartition("_")[2]))
        if stage.startswith("judge"):
            return self._judge(share=stage == "judge")
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "trl": self._trl,
            "answers": self._answers,
            "loading": self._loading,
        }
        return measures[stage]()

    def _train(self, stage: str) -> dict[str, Any]:
        inputs = Inputs(
            manifest=self.manifest,
            model=self.model,
            train=self.train,
            validation=self.validation,
            folder=self.folder / stage,
            training=TrainingSettings(max_length=1024, threads=self.threads),
            seed=0,
            gpu_memory_gb=self.memory,
        )
        prompt = self._trained("made_prompt") if stage == "promot" else None
        fresh_memory()
        with random_weights():
            if stage == "soft_prompt":
                tune_soft_prompt(inputs, self.soft_prompt)
            else:
                train_adapter(inputs, self.adapter, 5e-5, prompt)
        return self._training_figures(stage)

    def _trained(self, kind: str) -> Path:
        """Folder of an adapter or a soft prompt with random weights: a stage needs its shape, not what it learned."""
        folder = self.folder / kind
        if not folder.exists():
            placement = place(read_context(self.folder, self.model, self.memory), "training")
            model: Any = build_model(self.folder, placement)
            prompt = self.soft_prompt.virtual_tokens
            made = (
                add_soft_prompt(model, prompt, 0) if kind == "made_prompt" else add_adapter(model, self.adapter.lora, 0)
            )
            save_adapter(made, folder)
        return folder

    def _training_figures(self, stage: str) -> dict[str, Any]:
        record = read_json(self.folder / stage / "metrics.json")
        passes = self.scale.epochs
        virtual = 0 if stage == "sft" else self.soft_prompt.virtual_tokens * record["examples"]
        operations = floors.training_operations(
            self.shape,
            passes * (record["tokens"] + virtual),
            passes * record["target_tokens"],
            lora_rank=0 if stage == "soft_prompt" else self.adapter.lora.r,
        )
        return {
            **{key: record[key] for key in ("steps", "training_seconds", "validation_seconds", "tokens_per_second")},
            **{key: record[key] for key in ("micro_batch_size", "gradient_checkpointing")},
            "times_the_matrix_floor": round(record["training_seconds"] / self.rates.seconds(operations, 0), 2),
            "peak_gpu_memory_gb": gigabytes(record["peak_gpu_memory_bytes"]),
        }

    def _trl(self) -> dict[str, Any]:
        """TRL at its best: without gradient checkpointing, at the largest micro-batch that fits."""
        placement = replace(place(read_context(self.folder, self.model, self.memory), "training"), attention="sdpa")
        micro = self.adapter.batch_size * self.adapter.gradient_accumulation
        while micro:
            fresh_memory()
            try:
                out = self.folder / "trl"
                found = baselines.train_with_trl(self.folder, self.train, placement, self.adapter, micro, False, out)
                return {**found, "peak_gpu_memory_gb": peak_memory()}
            except torch.OutOfMemoryError:
                micro //= 2
        return {"failed": "out of memory at every micro-batch"}

    def _answers(self) -> dict[str, Any]:
        """Both sets of prompts answered by the library with an adapter."""
        adapter, out = self._trained("made_adapter"), self.folder / "answers"
        fresh_memory()
        job = AnswerJob(
            model_manifest=self.manifest,
            prompts={"harmful": self.prompts, "task": self.tasks},
            answers={"harmful": out / "harmful.jsonl", "task": out / "task.jsonl"},
            metrics=out / "metrics.json",
            model=self.model,
            generation=GenerationSettings(max_new_tokens=self.scale.answer_limit, threads=self.threads),
            system_prompt=None,
            gpu_memory_gb=self.memory,
            code="",
            adapter=adapter / ADAPTER_WEIGHTS,
        )
        with random_weights(), forced(answer_length):
            answer_prompts(job)
        lengths = list(map(len, self._rows(self.prompts) + self._rows(self.tasks)))
        return self._generation_figures(out / "metrics.json", sum(lengths) / len(lengths))

    def _generate(self, batch: int) -> dict[str, Any]:
        """Some of the same prompts by `generate` of transformers, with the same adapter and lengths."""
        adapter = self._trained("made_adapter")
        fresh_memory()
        count, most = (self.scale.one_by_one if batch == 1 else self.scale.by_eight), self.scale.answer_limit
        plain = self.model.model_copy(update={"attention": "sdpa"})
        settings = GenerationSettings(max_new_tokens=most, threads=self.threads)
        with random_weights():
            engine = load_engine(self.folder, plain, settings, self.memory, adapter)
        return baselines.generate_in_order(engine, self._rows(self.prompts)[:count], batch, most, answer_length)

    def _rows(self, prompts: Path) -> list[list[int]]:
        return [render_prompt(self.tokenizer, row["prompt"]) for row in read_jsonl(prompts)]

    def _judge(self, share: bool) -> dict[str, Any]:
        """Answers judged by the library, with the shared prefix or without."""
        scale, out = self.scale, self.folder / f"judge_{share}"
        files = write_judge_files(self.folder, self.tokenizer, scale.judge_prefix, scale.judged, self.shape)
        generation = GenerationSettings(max_new_tokens=scale.judge_limit, threads=self.threads)
        settings = JudgeSettings(model=self.name, prompt=str(files[2]), generation=generation, max_unscored=1.0)
        stage = Judging("policy", settings, self.model, self.manifest, files[2], self.memory, code="")
        with random_weights(), forced(lambda row, most: scale.judge_reply), sharing(share):
            judge_answers(stage, *files[:2], out / "scores.jsonl", out / "metrics.json")
        own = AFTER_PREFIX + JUDGED_ANSWER
        found = self._generation_figures(out / "metrics.json", own if share else own + scale.judge_prefix)
        return {**found, "judgements_per_second": round(scale.judged / found["generation_seconds"], 2)}

    def _loading(self) -> dict[str, Any]:
        """Seconds to load the weights from this machine's disk, as trainings (NF4) and answers (16 bits) do."""
        source, found = self.folder / "weights", {}
        context = read_context(self.folder, self.model, self.memory)
        placement = replace(place(context, "inference"), quantisation="none")
        model: Any = build_model(self.folder, placement)
        model.save_pretrained(source)
        del model
        quantised = "nf4" if placement.device == "cuda" else "none"
        for name, quantisation in (("bfloat16", "none"), ("nf4", quantised)):
            fresh_memory()
            started = time.perf_counter()
            loaded = load_model(source, replace(placement, quantisation=quantisation))  # type: ignore[arg-type]
            baselines.synchronise(placement.device)
            found[f"{name}_seconds"] = round(time.perf_counter() - started, 2)
            del loaded
        shutil.rmtree(source)
        # Just written, so the operating system may have the files in memory still.
        return {**found, "gigabytes": gigabytes(2 * self.shape.parameters), "files": "just written, perhaps in memory"}

    def _generation_figures(self, path: Path, prompt_tokens: float) -> dict[str, Any]:
        """Figures of a stage, and the floor for prompts of so many tokens (a shared prefix is read once: no part)."""
        record = read_json(path)
        budget = min(filter(None, record["token_budget"].values()))  # a try that was not needed has none
        floor = floors.answering_seconds(
            self.shape,
            self.rates,
            prompts=record["replies"],
            prompt_tokens=prompt_tokens,
            new_tokens=record["tokens"] / record["replies"],
            token_budget=budget,
        )
        return {
            **{key: record[key] for key in ("replies", "tokens", "generation_seconds", "tokens_per_second")},
            "quantisation": record["quantisation"],
            "token_budget": budget,
            "batches": len(record["batches"]),
            **{key: record[key] for key in ("cuda_graphs", "capture_seconds", "without_graphs") if key in record},
            "times_the_floor": round(record["generation_seconds"] / floor, 2),
            "peak_gpu_memory_gb": gigabytes(record["peak_gpu_memory_bytes"]),
        }


def failure(error: Exception) -> dict[str, Any]:
    """What the results say of a way that failed."""
    return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
