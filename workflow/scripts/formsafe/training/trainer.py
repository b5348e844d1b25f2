"""One subclass of transformers' Trainer for both methods and both stages."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import Trainer, TrainingArguments

from formsafe.config.settings.grid import Constraint
from formsafe.training import checkpoints, loss_log
from formsafe.training.collation import Collator
from formsafe.training.examples import Example

JOINT_PROMPT = "soft_prompt"


def target_logits(
    model: torch.nn.Module, embeddings: torch.nn.Module, batch: dict[str, Any], soft_prompt: torch.Tensor | None
) -> torch.Tensor:
    """Logits at every place whose next token is learned, `[targets, vocabulary]`, in the model's dtype.

    Args:
        model: a causal language model, with or without LoRA; never PEFT's prompt model, which would add a prompt.
        embeddings: its word embeddings.
        batch: from a Collator.
        soft_prompt: `[virtual tokens, hidden size]`, put before every example; None for none.
    """
    ids, keep = batch["input_ids"], batch["keep"]
    inputs: dict[str, Any] = {"input_ids": ids}
    if soft_prompt is not None:
        embedded = embeddings(ids)
        flat = embedded.view(-1, embedded.shape[-1])
        repeated = soft_prompt.to(flat.dtype).repeat(len(batch["virtual"]) // len(soft_prompt), 1)
        inputs = {"inputs_embeds": flat.index_copy(0, batch["virtual"], repeated).view_as(embedded)}
    # The vocabulary is large: logits are computed only at places whose next token is learned.
    if len(ids) == 1:
        return model(**inputs, **batch["model"], use_cache=False, logits_to_keep=keep).logits[0]
    # `logits_to_keep` takes positions that are the same for all rows: of a padded batch, whole columns.
    width = ids.shape[1]
    columns, column = torch.unique(keep % width, return_inverse=True)
    logits = model(**inputs, **batch["model"], use_cache=False, logits_to_keep=columns).logits
    return logits[keep // width, column]


def divergence(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """KL(reference || model) in nats of each row, `[rows]`, in fp32, from logits `[rows, vocabulary]`."""
    return kl_div(
        log_softmax(logits.float(), -1), log_softmax(reference.float(), -1), reduction="none", log_target=True
    ).sum(-1)


class SplitLossTrainer(Trainer):
    """Trainer that puts a soft prompt before the input, and logs the loss by kind of token.

    Args:
        model: a PEFT model: LoRA (SFT, stage 2), or prompt tuning (stage 1).
        args: arguments of transformers.
        collator: makes the batches.
        data: training and validation examples.
        soft_prompt: stage 2's frozen p*, `[virtual tokens, hidden size]`; None in SFT and in stage 1. A parameter is
            trained together with the adapter.
        soft_prompt_rate: learning rate of such a parameter.
        constraint: KL to the base model on the first tokens of a response, added to the loss.
    """

    def __init__(
        self,
        model: PeftModel,
        args: TrainingArguments,
        collator: Collator,
        data: tuple[Sequence[Example], Sequence[Example]],
        soft_prompt: torch.Tensor | None = None,
        soft_prompt_rate: float = 0.0,
        constraint: Constraint | None = None,
    ) -> None:
        if isinstance(soft_prompt, torch.nn.Parameter):
            model.register_parameter(JOINT_PROMPT, soft_prompt)  # before the Trainer looks for what to optimise
        super().__init__(model=model, args=args, data_collator=collator, train_dataset=data[0])
        self._peft, self._collate, self._validation = model, collator, data[1]
        self._folder = str(args.output_dir)
        self.model_accepts_loss_kwargs = True  # compute_loss divides by the targets of the whole optimiser step
        self._split = loss_log.SplitLoss()
        self._tuned = model.active_peft_config.is_prompt_learning
        self._soft_prompt, self._soft_prompt_rate = soft_prompt, soft_prompt_rate
        # the soft prompt that is trained together with the adapter, if there is one
        self._joint = soft_prompt if isinstance(soft_prompt, torch.nn.Parameter) else None
        self._constraint, self._divergences = constraint, []  # type: tuple[Constraint | None, list[torch.Tensor]]
        self._embeddings = model.get_base_model().get_input_embeddings()
        self._tokens, self._clock = 0, time.perf_counter()

    def soft_prompt(self) -> torch.Tensor | None:
        """The soft prompt before the input: p itself in stage 1, p* in stage 2, None for SFT."""
        if self._tuned:
            return self._peft.prompt_encoder[self._peft.active_adapter].embedding.weight
        return self._soft_prompt

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Sum of the batch's token losses, divided by the number of targets of the whole optimiser step.

        With a constraint, a token among the first `depth` of its response has its loss plus `weight` times KL(base
        model || model), both given the same input (the constrained objective of Qi et al. 2025, section 4, with the
        KL in place of their bound). The loss tables hold the cross-entropy only, so that methods stay comparable.
        """
        logits = self._logits(model, inputs)
        losses = cross_entropy(logits.float(), inputs["labels"], reduction="none")
        self._split.add(losses, inputs["kinds"])
        self._tokens += inputs["tokens"]
        total = losses.sum()
        if self._constraint is not None:
            first = inputs["depths"] < self._constraint.depth
            with torch.no_grad(), self._peft.disable_adapter():
                reference = self._logits(model, {**inputs, "keep": inputs["keep"][first]})
            kept = divergence(logits[first], reference)
            self._divergences.append(kept.detach())
            total = total + self._constraint.weight * kept.sum()
        return total / (len(losses) if num_items_in_batch is None else num_items_in_batch)

    def _logits(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        # PEFT's prompt model accepts padded batches only; its base model with p before the input is the same function.
        bare = self._peft.get_base_model() if self._tuned else model
        return target_logits(bare, self._embeddings, inputs, self.soft_prompt())

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The Trainer's, with a learning rate of its own for a soft prompt that is trained with the adapter."""
        optimizer = super().create_optimizer(*args, **kwargs)
        if self._joint is not None:
            for group in optimizer.param_groups:
                group["params"] = [parameter for parameter in group["params"] if parameter is not self._joint]
            optimizer.add_param_group({"params": [self._joint], "lr": self._soft_prompt_rate, "weight_decay": 0.0})
        return optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Replace the running loss by the exact one, by kind of token; add the step's tokens and seconds."""
        if "loss" in logs:
            logs = {**logs, **self._split.drain(), "tokens": self._tokens, "seconds": self._lap()}  # type: ignore[dict-item]
            if self._divergences:
                logs["divergence"] = torch.cat(self._divergences).mean().item()
                self._divergences.clear()
            self._tokens = 0
            loss_log.check_finite("loss", logs["loss"], self.state.global_step)
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Validation loss by kind of token; draws no random numbers, so that it does not change the training."""
        self._lap()
        split, size = loss_log.SplitLoss(), self.args.per_device_eval_batch_size
        self._peft.eval()
        for start in range(0, len(self._validation), size):
            batch = self._prepare_inputs(self._collate(self._validation[start : start + size]))
            losses = cross_entropy(self._logits(self._peft, batch).float(), batch["labels"], reduction="none")
            split.add(losses, batch["kinds"])
        figures = {**split.drain(), "seconds": self._lap()}
        logs = {f"{loss_log.VALIDATION}{name}": value for name, value in figures.items()}
        self.log(logs)  # type: ignore[arg-type]
        self.control.should_evaluate = False  # otherwise the Trainer validates again at the end of the epoch
        return logs

    def trained(self) -> list[torch.nn.Parameter]:
        """The parameters that are trained."""
        return [parameter for parameter in self._peft.parameters() if parameter.requires_grad]

    def _lap(self) -> float:
        """Seconds since the last call."""
        before, self._clock = self._clock, time.perf_counter()
        return self._clock - before

    def figures(self) -> dict[str, Any]:
        """Figures for metrics.json, of all steps of the result, those before a resume included.

        Tokens are those of prompts and responses, without soft prompt and padding.
        """

        def total(name: str) -> float:
            return sum(record.get(name, 0) for record in self.state.log_history)

        constrained = [record["divergence"] for record in self.state.log_history if "divergence" in record]
        return {
            "steps": self.state.global_step,
            "training_seconds": round(total("seconds"), 3),
            "validation_seconds": round(total(f"{loss_log.VALIDATION}seconds"), 3),
            "tokens_per_second": round(total("tokens") / total("seconds"), 1),
            "trainable_parameters": sum(p.numel() for p in self.trained()),
            "divergence_of_first_and_last_step": [constrained[0], constrained[-1]] if constrained else None,
        }

    def seconds_until(self, step: int) -> float:
        """Seconds of training and validation up to an optimiser step (included), in whichever process."""
        names = ("seconds", f"{loss_log.VALIDATION}seconds")
        records = [record for record in self.state.log_history if record["step"] <= step]
        return float(sum(record.get(name, 0.0) for record in records for name in names))

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: transformers visits all parameters for it at every batch."""
        return 0

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or self._folder)
        checkpoints.save_adapter(self._peft, folder)
        if self._joint is not None:
            save_file({JOINT_PROMPT: self._joint.detach()}, folder / f"{JOINT_PROMPT}.safetensors")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._joint is not None:
            saved = load_file(Path(resume_from_checkpoint) / f"{JOINT_PROMPT}.safetensors")[JOINT_PROMPT]
            self._joint.data.copy_(saved)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        # The Trainer writes below `args.output_dir`, so that is pointed at the partial folder for the moment.
        with checkpoints.writing(self._folder, self.state.global_step) as partial:
            self.args.output_dir = str(partial)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.output_dir = self._folder
