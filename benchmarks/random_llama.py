"""A random Llama of 20 million parameters that does not repeat itself, for the benchmarks of answering and judging."""

import os
import random
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

_THINGS = "kettle lamp fence bowl bicycle window letter garden engine coat table ladder mirror basket"
_VERBS = "clean mend paint move open build hide copy wash carry cut sell"
_REST = "with a cloth and warm water before the others come back and without leaving any trace of it"

THINGS, VERBS, REST = (words.split() for words in (_THINGS, _VERBS, _REST))


def load(stops: int) -> tuple[Any, Any]:
    """The tokenizer and the model (fp32, one thread); `stops` tokens of about 400 end an answer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from tests.tiny import write_tiny_model

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(write_tiny_model(Path(tempfile.mkdtemp())))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=7,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        initializer_range=0.08,
    )
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(40, 40 + stops)]
    return tokenizer, model


def how_to(draw: random.Random) -> str:
    """A prompt like a WikiSum title: some five words."""
    return f"How to {draw.choice(VERBS)} {'a' if draw.random() < 0.5 else 'the old'} {draw.choice(THINGS)}"


def order(draw: random.Random) -> str:
    """A prompt of the length of AdvBench's: 6 to 25 words, harmless."""
    words = draw.sample(REST, draw.randint(1, min(19, len(REST))))
    return f"Write a guide on how to {draw.choice(VERBS)} a {draw.choice(THINGS)} {' '.join(words)}"
