"""Models of real shapes with random weights, made on the device, and texts of real lengths for them.

What a stage costs depends on the shapes of the model and on the lengths of the texts, not on what they say. So nothing
is downloaded: a word is a token here, and texts have as many words as the real ones have tokens.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from formsafe.core.files import read_jsonl, write_json, write_jsonl
from formsafe.models import decode_attention
from formsafe.models.chat import render_prompt
from formsafe.models.load import Placement, keep_weights_as_loaded, register_attentions
from formsafe.models.shapes import ModelShape

SPECIAL = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|unknown|>"]
STOP, UNKNOWN = SPECIAL[3], SPECIAL[4]
STOP_ID, ORDINARY_ID = 3, 10
# The system block that Llama-3.1's template writes has some 20 tokens; the rest of the template 11.
TEMPLATE = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|> " + "w1 " * 20 + "<|eot_id|>"
    "{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|> {{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|> {% endif %}"
)
# Words a text (mean, spread, least, most) of the public rows, and tokens a word of a BPE vocabulary on English.
TITLES, SUMMARIES, REQUESTS = (6.2, 2.1, 4, 11), (95.3, 14.4, 65, 117), (12.1, 2.8, 6, 25)
TOKENS_PER_WORD = 1.25
# Tokens: of an answer that is judged, of the template after both texts, and of the chat template after a message.
JUDGED_ANSWER, CLOSING, AFTER_MESSAGE = 125, 60, 4
SPREAD = 0.02
# For answers that end by themselves: the share of the vocabulary that ends one (some 60 tokens on average), and how
# much wider than usual the weights are spread, without which a random model repeats one token for ever.
STOP_SHARE, WIDER = 0.015, 8.0


def write_folder(folder: Path, shape: ModelShape, context: int = 8192) -> Path:
    """Write what a model's folder holds besides weights: configuration, tokenizer and chat template."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

    words = [*SPECIAL, *"12345", *(f"w{number}" for number in range(shape.vocabulary))][: shape.vocabulary]
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=SPECIAL[0],
        eos_token=STOP,
        unk_token=UNKNOWN,
        additional_special_tokens=SPECIAL[1:3],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    ends = {"bos_token_id": 0, "eos_token_id": STOP_ID}
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_width,
        max_position_embeddings=context,
        tie_word_embeddings=shape.tied,
        **ends,
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    GenerationConfig(**ends).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "manifest.json", {"name": folder.name, "path": str(folder), "repo": None, "revision": None})
    return folder


def build_model(directory: str | Path, placement: Placement) -> torch.nn.Module:
    """Stand in for `models.load_model`: the same model, its random weights made on the device, one matrix at a time,
    and quantised at once, so that it never needs more memory than the loaded model."""
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    register_attentions()
    decode_attention.avoid_faulty_cudnn(placement.device)
    config, dtype = AutoConfig.from_pretrained(directory), getattr(torch, placement.dtype)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=placement.attention)
    if placement.quantisation == "nf4":
        from transformers.quantizers import AutoHfQuantizer

        quantisation = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        quantizer = AutoHfQuantizer.from_config(quantisation)
        quantizer.preprocess_model(model=model, device_map={"": placement.device}, dtype=dtype)
        model.hf_quantizer = quantizer
    _fill(model, torch.device(placement.device), dtype)
    if placement.quantisation == "nf4":
        quantizer.postprocess_model(model)
    model.tie_weights()
    model.config._name_or_path = model.name_or_path = str(directory)
    model.generation_config = GenerationConfig.from_pretrained(directory)
    keep_weights_as_loaded(model)
    return model.eval()


def _fill(model: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    from bitsandbytes.nn import Linear4bit, Params4bit

    generator = torch.Generator(device).manual_seed(0)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            shape = (module.out_features, module.in_features) if isinstance(module, Linear4bit) else parameter.shape
            weight = torch.empty(shape, dtype=dtype, device=device)
            weight.fill_(1.0) if weight.ndim == 1 else weight.normal_(0.0, SPREAD, generator=generator)
            if isinstance(module, Linear4bit):
                packed = Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
                module.weight = packed.to(device)
                module.quant_state = module.weight.quant_state
            else:
                setattr(module, name, torch.nn.Parameter(weight, requires_grad=parameter.requires_grad))
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            # Only the rotary embedding has buffers: they are computed, not loaded.
            fresh = type(module)(config=module.config).to(device)
            for name, buffer in fresh.named_buffers(recurse=False):
                module.register_buffer(name, buffer, persistent=False)


@torch.no_grad()
def spread_weights(model: torch.nn.Module) -> None:
    """Make a random model write texts that vary."""
    for parameter in model.parameters():
        if parameter.ndim == 2 and parameter.is_floating_point():
            parameter.mul_(WIDER)


def some_stops(shape: ModelShape) -> list[int]:
    """Tokens that end an answer now and then."""
    return list(range(20, shape.vocabulary, round(1 / STOP_SHARE)))


@contextmanager
def random_weights() -> Iterator[None]:
    """Let the library's stages take random models instead of loading real ones; all else is theirs."""
    with (
        patch("formsafe.training.stages.load_model", build_model),
        patch("formsafe.generation.local_engine.load_model", build_model),
    ):
        yield


def draw_tokens(rng: random.Random, words: tuple[float, float, int, int]) -> int:
    """Tokens of a text."""
    mean, spread, least, most = words
    return round(TOKENS_PER_WORD * min(most, max(least, rng.gauss(mean, spread))))


def text(rng: random.Random, tokens: int, vocabulary: int) -> str:
    """A text of so many tokens."""
    return " ".join(f"w{rng.randrange(vocabulary - len(SPECIAL) - 5)}" for _ in range(tokens))


def write_training_data(path: Path, examples: int, shape: ModelShape, seed: int = 0) -> Path:
    """Training data of WikiSum's lengths."""
    rng = random.Random(seed)
    records = []
    for number in range(examples):
        user = text(rng, draw_tokens(rng, TITLES), shape.vocabulary)
        response = text(rng, draw_tokens(rng, SUMMARIES), shape.vocabulary)
        messages = [{"role": "user", "content": user}, {"role": "assistant", "content": response}]
        records.append({"id": str(number), "messages": messages, "spans": [[0, len(response), "content"]]})
    write_jsonl(path, records)
    return path


def write_prompts(
    path: Path,
    count: int,
    shape: ModelShape,
    seed: int = 0,
    words: tuple[float, float, int, int] = REQUESTS,
) -> Path:
    """Prompts, of AdvBench's lengths unless others are given."""
    rng = random.Random(seed)
    write_jsonl(
        path,
        (
            {"id": f"p{number}", "source": "made", "prompt": text(rng, draw_tokens(rng, words), shape.vocabulary)}
            for number in range(count)
        ),
    )
    return path


def write_judge_files(
    folder: Path, tokenizer: Any, prefix: int, count: int, shape: ModelShape
) -> tuple[Path, Path, Path]:
    """Questions, answers, and a template whose text before the question has the prefix's length."""
    rng = random.Random(2)
    template, answers = folder / "judge.txt", folder / "judged_answers.jsonl"
    before = prefix - len(render_prompt(tokenizer, "")) + AFTER_MESSAGE
    opening, closing = text(rng, before, shape.vocabulary), text(rng, CLOSING, shape.vocabulary)
    template.write_text(f"{opening}\n{{instruction}}\n{{answer}}\n{closing}\n")
    questions = write_prompts(folder / "judged.jsonl", count, shape)
    ids = [row["id"] for row in read_jsonl(questions)]
    write_jsonl(answers, ({"id": id, "answer": text(rng, JUDGED_ANSWER, shape.vocabulary)} for id in ids))
    return questions, answers, template


def answer_length(row: list[int], most: int) -> int:
    """Tokens of the answer to a prompt, drawn from the prompt itself so that every way to answer writes as much:
    45 % refusals of 20 to 60 tokens, 45 % texts as long as those trained on, 10 % that run into the limit."""
    rng = random.Random(hashlib.sha256(repr(row).encode()).hexdigest())
    kind = rng.random()
    if kind < 0.45:
        return min(most, rng.randint(20, 60))
    return most if kind < 0.55 else min(most, draw_tokens(rng, SUMMARIES))
