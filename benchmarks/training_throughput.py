"""Tokens a second of training against TRL's SFTTrainer: same model, LoRA, examples and batches, nothing packed.

    python benchmarks/training_throughput.py --size demo
    python benchmarks/training_throughput.py --size 20m

Random weights, made-up text with the lengths of WikiSum's summaries (65 to 117 words), batch 16 x 2, LoRA r 16 with
dropout 0.01, fp32, one CPU thread, CPU seconds. The variants take turns in one process; tokens are prompt and
response, without padding, and a round's ratio is of the same steps on the same examples. They are a ladder from ours to
TRL's, each with one thing less than the one before, so that their ratios multiply to the whole gain; all must log the
same loss at the first step, at which LoRA's B is zero and dropout has no say.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import trl
from committed import save
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from formsafe.models import varlen_attention
from formsafe.models.load import Placement, load_model, load_tokenizer
from formsafe.training.collation import Collator
from formsafe.training.examples import Example, Examples, tokenise
from formsafe.training.sparse_dropout import replace_dropout
from formsafe.training.trainer import SplitLossTrainer
from tests.tiny import LLAMA3_TEMPLATE, SPECIAL_TOKENS
from tests.training_cases import record

SIZES = {
    "demo": {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "vocab_size": 1024},
    "20m": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 10, "vocab_size": 8192},
}
SHARED = {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 3,
    "pad_token_id": None,
}
# From ours to TRL's, and what each variant goes without.
LADDER = {
    "ours": "",
    "padded": "batches without padding",
    "torch dropout": "sparse dropout",
    "full logits": "logits only where a token is learned",
    "trainer": "our loss and its split: transformers' Trainer and the model's own loss",
    "trl": "Trainer's plain loss: TRL's output layer in tiles, with the entropy and accuracy of every token",
}
LOSS_TOLERANCE = 1e-3
Timed = Callable[[], tuple[float, float]]


def made_up_words(draw: random.Random, count: int) -> list[str]:
    """Words of one to four syllables."""
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "in", "ol", "us")]
    return ["".join(draw.choices(syllables, k=draw.choice((1, 1, 2, 2, 3, 4)))) for _ in range(count)]


def write_inputs(folder: Path, size: dict[str, int], rows: int) -> None:
    """Write model, tokenizer and training data."""
    draw = random.Random(0)
    words = made_up_words(draw, 3000)
    weights = [1 / rank for rank in range(1, len(words) + 1)]

    def sentence(length: int) -> str:
        return " ".join(draw.choices(words, weights, k=length)).capitalize() + "."

    records = []
    for number in range(rows):
        left = draw.randint(65, 117)
        sentences = []
        while left > 0:
            length = min(left, draw.randint(8, 25))
            sentences.append(sentence(length))
            left -= length
        records.append(record(f"row-{number}", f"How to {sentence(draw.randint(3, 6))}", sentences, "prose"))
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([row["messages"][1]["content"] for row in records], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL_TOKENS[0], eos_token="<|eot_id|>", chat_template=LLAMA3_TEMPLATE
    )
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHARED, **size)).save_pretrained(folder)
    fast.save_pretrained(folder)


class StepClock(TrainerCallback):
    """CPU seconds spent in optimiser steps: one thread, and others' work on the machine does not count."""

    def __init__(self) -> None:
        self.seconds, self._begun = 0.0, 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start."""
        self._begun = time.process_time()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop."""
        self.seconds += time.process_time() - self._begun


def arguments(folder: Path, steps: int) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 2,
        "max_steps": steps,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "optim": "adamw_torch",
        "use_cpu": True,
        "bf16": False,
        "seed": 0,
        "data_seed": 0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def with_lora(folder: Path, attention: str) -> PeftModel:
    """The model with its adapter."""
    model = load_model(folder, Placement("cpu", "float32", "none", attention))
    lora = LoraConfig(r=16, lora_alpha=16, lora_dropout=0.01, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(0)
    return get_peft_model(model, lora)


def timed(trainer: Trainer) -> Timed:
    """A function that trains on and returns the seconds of its steps and the first loss."""
    clock = StepClock()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)

    def run() -> tuple[float, float]:
        clock.seconds = 0.0
        trainer.train()
        return clock.seconds, next(record["loss"] for record in trainer.state.log_history if "loss" in record)

    return run


class FullLogits(SplitLossTrainer):
    """Ours with logits of every place, prompts and padding included."""

    def _losses(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        logits = model(input_ids=inputs["input_ids"], **inputs["model"], use_cache=False).logits
        return cross_entropy(logits.flatten(0, 1)[inputs["keep"]].float(), inputs["labels"], reduction="none")


def ours(
    folder: Path,
    data: Examples,
    steps: int,
    *,
    flat: bool = True,
    sparse: bool = True,
    kind: type[SplitLossTrainer] = SplitLossTrainer,
) -> Timed:
    """Our trainer, whole or with something taken away."""
    model = with_lora(folder, varlen_attention.NAME if flat else "sdpa")
    if sparse:
        replace_dropout(model)
    told = TrainingArguments(**arguments(folder, steps), remove_unused_columns=False)
    return timed(kind(model, told, Collator(flat), (data.rows, data.rows[:4])))


def plain_trainer(folder: Path, data: Examples, steps: int) -> Timed:
    """transformers' Trainer on padded batches, with the model's own loss."""

    def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        batch = Collator(False)(examples)
        labels = torch.full_like(batch["input_ids"], -100)
        labels.view(-1)[batch["keep"] + 1] = batch["labels"]
        return {"input_ids": batch["input_ids"], "labels": labels, **batch["model"]}

    told = TrainingArguments(**arguments(folder, steps), remove_unused_columns=False)
    return timed(Trainer(with_lora(folder, "sdpa"), told, data_collator=collate, train_dataset=data.rows))


def trls(folder: Path, steps: int) -> Timed:
    """TRL's trainer without what it would do besides: no gradient checkpointing, no 16-bit arithmetic."""
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    pairs = [{"prompt": row["messages"][:1], "completion": row["messages"][1:]} for row in rows]
    told = trl.SFTConfig(**arguments(folder, steps), gradient_checkpointing=False, max_length=None)
    trainer = trl.SFTTrainer(
        model=with_lora(folder, "sdpa"),
        args=told,
        train_dataset=Dataset.from_list(pairs),
        processing_class=load_tokenizer(folder),
    )
    return timed(trainer)


def measure(size: str, rounds: int, steps: int) -> dict[str, Any]:
    """Let the variants take turns."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_inputs(folder, SIZES[size], rows=32 * steps)
        tokenizer = load_tokenizer(folder)
        data = tokenise(folder / "train.jsonl", tokenizer, [tokenizer.eos_token_id], max_length=2048, tolerance=0)
        variants = {
            "ours": ours(folder, data, steps),
            "padded": ours(folder, data, steps, flat=False),
            "torch dropout": ours(folder, data, steps, flat=False, sparse=False),
            "full logits": ours(folder, data, steps, flat=False, sparse=False, kind=FullLogits),
            "trainer": plain_trainer(folder, data, steps),
            "trl": trls(folder, steps),
        }
        # The first round warms up, and shows that all see the same first batches.
        losses = {name: run()[1] for name, run in variants.items()}
        assert max(losses.values()) - min(losses.values()) < LOSS_TOLERANCE, losses
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(rounds):
            for name, run in variants.items():
                seconds[name].append(run()[0])
    figures = data.figures()
    ratios = [theirs / mine for mine, theirs in zip(seconds["ours"], seconds["trl"], strict=True)]
    return {
        "size": size,
        "parameters": sum(p.numel() for p in LlamaForCausalLM(LlamaConfig(**SHARED, **SIZES[size])).parameters()),
        "examples": figures["examples"],
        "tokens": figures["tokens"],
        "steps_a_round": steps,
        "tokens_per_second": {
            name: {"median": round(figures["tokens"] / statistics.median(taken), 1), "rounds": len(taken)}
            for name, taken in seconds.items()
        },
        "times_trl": {"median": round(statistics.median(ratios), 3), "rounds": [round(ratio, 3) for ratio in ratios]},
        "where_from": {name: without(seconds, name) for name in list(LADDER)[1:]},
        "first_losses": {name: round(loss, 6) for name, loss in losses.items()},
        "trl_version": trl.__version__,
    }


def without(seconds: dict[str, list[float]], name: str) -> dict[str, Any]:
    """How many times longer a variant takes than the one before it on the ladder."""
    before = list(LADDER)[list(LADDER).index(name) - 1]
    ratios = [taken / less for less, taken in zip(seconds[before], seconds[name], strict=True)]
    return {
        "without": LADDER[name],
        "times": round(statistics.median(ratios), 3),
        "rounds": [round(r, 3) for r in ratios],
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    result = measure(options.size, options.rounds, options.steps)
    save(f"training_throughput_{options.size}", result)


if __name__ == "__main__":
    main()
