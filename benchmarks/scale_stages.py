"""Each stage of a run at the real size, through the library's own functions, and beside the ways people use now."""

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
from formsafe.models.load import load_tokenizer, place
from formsafe.scoring.judge import Judging, judge_answers
from formsafe.training.stages import Inputs, train_adapter, tune_soft_prompt

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

    def training(self) -> dict[str, Any]:
        """Stage 1, SFT and stage 2 by the library, and SFT by TRL, with its checkpointing and without."""
        found = {}
        for stage in ("soft_prompt", "sft", "promot"):
            fresh_memory()
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
            with random_weights():
                if stage == "soft_prompt":
                    tune_soft_prompt(inputs, self.soft_prompt)
                else:
                    prompt = self.folder / "soft_prompt" if stage == "promot" else None
                    train_adapter(inputs, self.adapter, 5e-5, prompt)
            found[stage] = self._training_figures(stage)
        trl = {"trl_sft": True, "trl_sft_without_checkpointing": False}
        return found | {name: self._trl(found["sft"], checkpointing) for name, checkpointing in trl.items()}

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

    def _trl(self, ours: dict[str, Any], checkpointing: bool) -> dict[str, Any]:
        """TRL at the largest micro-batch that fits."""
        placement = replace(place(read_context(self.folder, self.model, self.memory), "training"), attention="sdpa")
        for micro in (16, 8, 4, 2, 1):
            fresh_memory()
            try:
                found = baselines.train_with_trl(
                    self.folder, self.train, placement, self.adapter, micro, checkpointing, self.folder / "trl"
                )
            except torch.OutOfMemoryError:
                continue
            except Exception as error:  # a peer's failure is a result, and must not cost the rest of the run
                return failure(error)
            ratio = round(ours["tokens_per_second"] / found["tokens_per_second"], 2)
            return {**found, "peak_gpu_memory_gb": peak_memory(), "ours_is_faster_by": ratio}
        return {"failed": "out of memory at every micro-batch"}

    def answers(self) -> dict[str, Any]:
        """Both sets of prompts answered by the library with an adapter, and some by `generate` at batch 1 and 8."""
        fresh_memory()
        most, out = self.scale.answer_limit, self.folder / "answers"
        generation = GenerationSettings(max_new_tokens=most, threads=self.threads)
        adapter = self.folder / "sft"
        with random_weights(), forced(answer_length):
            job = AnswerJob(
                model_manifest=self.manifest,
                prompts={"harmful": self.prompts, "task": self.tasks},
                answers={"harmful": out / "harmful.jsonl", "task": out / "task.jsonl"},
                metrics=out / "metrics.json",
                model=self.model,
                generation=generation,
                system_prompt=None,
                gpu_memory_gb=self.memory,
                code="",
                adapter=adapter / "metrics.json",
            )
            answer_prompts(job)
        rows = [render_prompt(self.tokenizer, row["prompt"]) for row in read_jsonl(self.prompts)]
        everything = rows + [render_prompt(self.tokenizer, row["prompt"]) for row in read_jsonl(self.tasks)]
        ours = self._generation_figures(out / "metrics.json", sum(map(len, everything)) / len(everything), 0)
        fresh_memory()
        with random_weights():
            engine = load_engine(self.folder, self.model, generation, self.memory, adapter)
        found = {"formsafe": ours}
        for batch, count in ((1, self.scale.one_by_one), (8, self.scale.by_eight)):
            other = baselines.generate_in_order(engine, rows[:count], batch, most, answer_length)
            ratio = round(ours["tokens_per_second"] / other["tokens_per_second"], 2)
            found[f"generate_batch_{batch}"] = {**other, "ours_is_faster_by": ratio}
        return found

    def judge(self) -> dict[str, Any]:
        """Answers judged by the library, and by the same engine without the shared prefix."""
        scale = self.scale
        files = write_judge_files(self.folder, self.tokenizer, scale.judge_prefix, scale.judged, self.shape)
        generation = GenerationSettings(max_new_tokens=scale.judge_limit, threads=self.threads)
        settings = JudgeSettings(model=self.name, prompt=str(files[2]), generation=generation, max_unscored=1.0)
        found = {}
        for way, share in (("formsafe", True), ("without_prefix_reuse", False)):
            fresh_memory()
            out = self.folder / way
            with random_weights(), forced(lambda row, most: scale.judge_reply), sharing(share):
                stage = Judging("policy", settings, self.model, self.manifest, files[2], self.memory, code="")
                judge_answers(stage, *files[:2], out / "scores.jsonl", out / "metrics.json")
            tokens = scale.judge_prefix + AFTER_PREFIX + JUDGED_ANSWER
            found[way] = self._generation_figures(out / "metrics.json", tokens, scale.judge_prefix if share else 0)
            found[way]["judgements_per_second"] = round(scale.judged / found[way]["generation_seconds"], 2)
        ratio = found["formsafe"]["judgements_per_second"] / found["without_prefix_reuse"]["judgements_per_second"]
        found["without_prefix_reuse"]["ours_is_faster_by"] = round(ratio, 2)
        return found

    def _generation_figures(self, path: Path, prompt_tokens: float, prefix: int) -> dict[str, Any]:
        record = read_json(path)
        budget = min(filter(None, record["token_budget"].values()))  # a try that was not needed has none
        floor = floors.answering_seconds(
            self.shape,
            self.rates,
            prompts=record["replies"],
            prompt_tokens=prompt_tokens,
            new_tokens=record["tokens"] / record["replies"],
            token_budget=budget,
            prefix_tokens=prefix,
        )
        return {
            **{key: record[key] for key in ("replies", "tokens", "generation_seconds", "tokens_per_second")},
            "quantisation": record["quantisation"],
            "token_budget": budget,
            "batches": len(record["batches"]),
            "times_the_floor": round(record["generation_seconds"] / floor, 2),
            "peak_gpu_memory_gb": gigabytes(record["peak_gpu_memory_bytes"]),
        }


def failure(error: Exception) -> dict[str, Any]:
    """What the results say of a way that failed."""
    return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
