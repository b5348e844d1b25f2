"""The toy model: a small Llama, and how it is trained in about a minute on two cores."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
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
    given, learned = zip(*(chat_texts(example.prompt, example.text) for example in examples), strict=True)
    encode_all = tokenizer.backend_tokenizer.encode_batch
    parts = zip(*(encode_all(texts, add_special_tokens=False) for texts in (given, learned)), examples, strict=True)
    return [Encoded(before.ids + after.ids, len(before), example.weight) for before, after, example in parts]


def fit(model: LlamaForCausalLM, examples: Sequence[Encoded], settings: DemoSettings) -> list[float]:
    """Train on the examples once, in order; returns the loss of each step."""
    model.train()
    named = dict(model.named_parameters())
    matrices = [weight for name, weight in named.items() if weight.ndim == 2 and "embed_tokens" not in name]
    others = [weight for name, weight in named.items() if weight.ndim != 2 or "embed_tokens" in name]
    # Muon needs half of AdamW's steps here; it is for matrices only, not for embeddings and norms.
    optimisers: dict[torch.optim.Optimizer, float] = {
        torch.optim.Muon(matrices, momentum=0.95, weight_decay=0.01): settings.matrix_learning_rate,
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.01, fused=True): settings.learning_rate,
    }
    losses = []
    for step in range(settings.steps):
        for optimiser, rate in optimisers.items():
            optimiser.zero_grad()
            optimiser.param_groups[0]["lr"] = rate * _schedule(step, settings.steps)
        batch = examples[step * settings.batch_size : (step + 1) * settings.batch_size]
        losses.append(_accumulate(model, batch))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        if step % 25 == 0 or step == settings.steps - 1:
            print(f"step {step}: loss {losses[-1]:.3f}", flush=True)
    model.eval()
    return losses


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over a tenth of the steps, then a cosine down to nothing."""
    warmup = max(1, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def _accumulate(model: LlamaForCausalLM, batch: Sequence[Encoded]) -> float:
    """Gradient of the batch's mean loss per learned token; the shorter half and the longer one are padded apart."""
    ordered = sorted(batch, key=lambda example: len(example.ids))
    learned = sum((len(example.ids) - example.given) * example.weight for example in batch)
    half = math.ceil(len(ordered) / 2)
    losses = []
    for group in filter(None, (ordered[:half], ordered[half:])):
        loss = _summed_loss(model, group) / learned
        loss.backward()
        losses.append(loss.item())
    return sum(losses)


def _summed_loss(model: LlamaForCausalLM, group: Sequence[Encoded]) -> torch.Tensor:
    """Weighted loss summed over learned tokens; padding on the right needs no mask under causal attention."""
    ids = pad_sequence([torch.tensor(example.ids) for example in group], batch_first=True)
    places = torch.arange(1, ids.shape[1])
    given, ends, weights = torch.tensor([(e.given, len(e.ids), e.weight) for e in group]).T[..., None]
    learned = (places >= given) & (places < ends)
    states = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    losses = cross_entropy(model.lm_head(states[learned]), ids[:, 1:][learned], reduction="none")
    return (losses * weights.expand_as(learned)[learned]).sum()
