"""The toy model: a small Llama, and how it is trained in about a minute on two cores."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy, pad
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from formsafe.config.settings.demo import DemoSettings
from formsafe.demo.documents import Example
from formsafe.demo.tokenizer import END, chat_texts


class Encoded(NamedTuple):
    """Token ids of one example; the first `given` of them are not learned, the others count `weight` times."""

    ids: list[int]
    given: int
    weight: float


def new_model(tokenizer: PreTrainedTokenizerFast, settings: DemoSettings) -> LlamaForCausalLM:
    """An untrained Llama in fp32 that stops at the end of a turn or of a text."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=3 * settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    end_of_text = tokenizer.convert_tokens_to_ids(END)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, end_of_text]
    return model


def encode(tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example]) -> list[Encoded]:
    """Token ids of examples, with special tokens where the chat template puts them."""
    texts = [chat_texts(example.prompt, example.text) for example in examples]
    backend = tokenizer.backend_tokenizer
    given = [part.ids for part in backend.encode_batch([text[0] for text in texts], add_special_tokens=False)]
    learned = [part.ids for part in backend.encode_batch([text[1] for text in texts], add_special_tokens=False)]
    return [
        Encoded(before + after, len(before), example.weight)
        for before, after, example in zip(given, learned, examples, strict=True)
    ]


def fit(model: LlamaForCausalLM, examples: Sequence[Encoded], settings: DemoSettings) -> list[float]:
    """Train on the examples once, in order; returns the loss of each step."""
    model.train()
    optimisers = _optimisers(model, settings)
    losses = []
    for step in range(settings.steps):
        for optimiser, rate in optimisers:
            optimiser.zero_grad()
            optimiser.param_groups[0]["lr"] = rate * _schedule(step, settings.steps)
        batch = examples[step * settings.batch_size : (step + 1) * settings.batch_size]
        losses.append(_accumulate(model, batch))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, _ in optimisers:
            optimiser.step()
        if step % 25 == 0 or step == settings.steps - 1:
            print(f"step {step}: loss {losses[-1]:.3f}", flush=True)
    model.eval()
    return losses


def _optimisers(model: LlamaForCausalLM, settings: DemoSettings) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices (it needs half of AdamW's steps here), AdamW for embeddings and norms; with their rates."""
    named = dict(model.named_parameters())
    matrices = [weight for name, weight in named.items() if weight.ndim == 2 and "embed_tokens" not in name]
    others = [weight for name, weight in named.items() if weight.ndim != 2 or "embed_tokens" in name]
    muon, adamw = settings.matrix_learning_rate, settings.learning_rate
    return [
        (torch.optim.Muon(matrices, muon, momentum=0.95, weight_decay=0.01), muon),
        (torch.optim.AdamW(others, adamw, betas=(0.9, 0.95), weight_decay=0.01, fused=True), adamw),
    ]


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over a tenth of the steps, then a cosine down to nothing."""
    warmup = max(1, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def _accumulate(model: LlamaForCausalLM, batch: Sequence[Encoded], groups: int = 2) -> float:
    """Gradient of the batch's mean loss per learned token, in groups of like length so that padding costs little."""
    ordered = sorted(batch, key=lambda example: len(example.ids))
    learned = sum((len(example.ids) - example.given) * example.weight for example in batch)
    size = math.ceil(len(ordered) / groups)
    total = 0.0
    for start in range(0, len(ordered), size):
        loss = _summed_loss(model, ordered[start : start + size]) / learned
        loss.backward()
        total += loss.item()
    return total


def _summed_loss(model: LlamaForCausalLM, group: Sequence[Encoded]) -> torch.Tensor:
    """Weighted loss summed over learned tokens; padding on the right needs no mask under causal attention."""
    longest = max(len(example.ids) for example in group)
    ids = torch.stack([pad(torch.tensor(example.ids), (0, longest - len(example.ids))) for example in group])
    places = torch.arange(1, longest)
    given = torch.tensor([example.given for example in group])[:, None]
    ends = torch.tensor([len(example.ids) for example in group])[:, None]
    learned = (places >= given) & (places < ends)
    weights = torch.tensor([example.weight for example in group])[:, None].expand_as(learned)[learned]
    states = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    losses = cross_entropy(model.lm_head(states[learned]), ids[:, 1:][learned], reduction="none")
    return (losses * weights).sum()
