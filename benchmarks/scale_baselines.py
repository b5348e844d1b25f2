"""The ways people train, answer and judge now, on the same models, texts and lengths."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from scale_models import build_model

from formsafe.config.settings.training import AdapterSettings
from formsafe.generation.local_engine import LocalEngine
from formsafe.models.load import Placement, end_of_turn_ids, load_tokenizer


def train_with_trl(
    folder: Path,
    data: Path,
    placement: Placement,
    settings: AdapterSettings,
    micro_batch: int,
    checkpointing: bool,
    out: Path,
) -> dict[str, Any]:
    """TRL's SFTTrainer with its defaults (padding, gradient checkpointing unless switched off, loss on the completion),
    the paper's LoRA and effective batch, and our seed, so that batches hold the same examples. Tokens are those of
    prompts and responses, without padding."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig

    from formsafe.training.examples import tokenise

    model, tokenizer = build_model(folder, placement), load_tokenizer(folder)
    rows = tokenise(data, tokenizer, end_of_turn_ids(tokenizer, model), max_length=4096, tolerance=0).rows
    pairs = [
        {"input_ids": row.ids, "completion_mask": [int(place >= row.prompt_length) for place in range(len(row.ids))]}
        for row in rows
    ]
    cuda = placement.device == "cuda"
    arguments = trl.SFTConfig(
        output_dir=str(out),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=settings.batch_size * settings.gradient_accumulation // micro_batch,
        num_train_epochs=settings.epochs,
        learning_rate=5e-5,
        gradient_checkpointing=checkpointing,
        seed=0,
        data_seed=0,
        bf16=cuda,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora.r,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules=settings.lora.target_modules,
    )
    trainer = trl.SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
        peft_config=lora,
    )
    clock = after_first_step(placement.device)
    trainer.add_callback(clock)
    trainer.train()
    synchronise(placement.device)
    seconds = time.perf_counter() - clock.started
    tokens = sum(len(row.ids) for row in rows) * settings.epochs * clock.share
    return {
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1),
        "micro_batch_size": micro_batch,
        "gradient_checkpointing": bool(arguments.gradient_checkpointing),
    }


def after_first_step(device: str) -> Any:
    """A callback with the time at which the first step, in which kernels are compiled, was over, and the share of the
    steps that came after it. Where there is one step only, its own time counts."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        started, share = 0.0, 1.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1 < state.max_steps:
                synchronise(device)
                self.started, self.share = time.perf_counter(), 1 - 1 / state.max_steps

    return Clock()


def generate_in_order(
    engine: LocalEngine, rows: Sequence[list[int]], batch: int, most: int, length: Callable[[list[int], int], int]
) -> dict[str, Any]:
    """`generate` of transformers over the prompts as they come, `batch` at a time, forced to the same lengths."""
    from transformers import LogitsProcessorList

    from formsafe.generation.decoding import pad_left

    model: Any = engine.model
    tokens, started = 0, time.perf_counter()
    for first in range(0, len(rows), batch):
        part = list(rows[first : first + batch])
        ids, mask = pad_left(part, model.device)
        ends = [length(row, most) for row in part]
        processor = _End(ids.shape[1], ends, engine.stop_ids)
        with torch.inference_mode():
            model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=engine.stop_ids,
                logits_processor=LogitsProcessorList([processor]),
            )
        tokens += sum(ends)
    synchronise(str(model.device.type))
    seconds = time.perf_counter() - started
    return {"prompts": len(rows), "tokens_per_second": round(tokens / seconds, 1), "seconds": round(seconds, 3)}


class _End:
    """Makes each row end at its length, and not before."""

    def __init__(self, prompt_tokens: int, ends: Sequence[int], stops: Sequence[int]) -> None:
        self.prompt_tokens, self.ends, self.stops = prompt_tokens, list(ends), list(stops)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.prompt_tokens
        scores[:, self.stops] = float("-inf")
        for row, end in enumerate(self.ends):
            if step >= end:
                scores[row, self.stops[0]] = float("inf")
        return scores


def synchronise(device: str) -> None:
    """Wait until the device has done what it was asked."""
    if device == "cuda":
        torch.cuda.synchronize()
