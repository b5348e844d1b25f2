"""Random models of two layers of each family that the presets name: its architecture and the shape of its template."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.tiny import TEXT

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,  # so large that answers do not repeat themselves
    "pad_token_id": None,
}
# Templates in words of their own, each with its family's order of marks, and with what it asks for besides messages.
LLAMA = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\nIt is ' + date_string + '.\n\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}"
    "{{ '<|eot_id|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% set first = '' %}{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Turns must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ (first if loop.first else '') + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('No system role here') }}{% endif %}" + GEMMA
MISTRAL = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Turns must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' }}{% if loop.last and system is defined %}{{ system + '\n\n' }}{% endif %}"
    "{{ m.content + '[/INST]' }}{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
OLMO = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}"
    "{{ eos_token if m.role == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
SMOLLM = (
    "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
    "{% set empty = '' if enable_thinking else '<think>\n\n</think>\n' %}"
    "{{ '<|im_start|>system\nIt is ' + strftime_now('%d %B %Y') + '.\nMode: ' }}"
    "{{ ('/think' if enable_thinking else '/no_think') + '\n\n' }}{% if messages[0].role == 'system' %}"
    "{{ messages[0].content }}{% set messages = messages[1:] %}{% else %}{{ 'Be useful.' }}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}"
    "{% else %}{% generation %}{{ '<|im_start|>assistant\n' + empty + m.content + '<|im_end|>\n' }}{% endgeneration %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' + empty }}{% endif %}"
)
GRANITE = (
    "{{ '<|start_of_role|>system<|end_of_role|>' }}{% if messages[0].role == 'system' %}{{ messages[0].content }}"
    "{% set messages = messages[1:] %}{% else %}{{ 'It is ' + strftime_now('%B %d, %Y') + '.' }}"
    "{% if thinking %}{{ ' Think first.' }}{% endif %}{% endif %}{{ '<|end_of_text|>\n' }}{% for m in messages %}"
    "{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """An architecture with its template.

    Attributes:
        preset: the file in `config/models` that it is the small copy of; None for none.
        architecture: transformers' class of the model.
        config: its configuration, from the size of the vocabulary and ids of BOS and EOS.
        template: the chat template.
        marks: special tokens, of which the first is BOS (if `bos`) and the last EOS.
        ends: marks that end an answer, EOS besides.
        plain: added tokens that are no special ones.
        linear: linear layers of the two layers of the text model.
        shrink: factor of the word embeddings; where they are the output layer, too, a random model would repeat itself.
    """

    preset: str | None
    architecture: str
    config: Callable[..., Any]
    template: str
    marks: tuple[str, ...]
    ends: tuple[str, ...] = ()
    bos: bool = True
    plain: tuple[str, ...] = ()
    linear: int = 14
    shrink: float = 1.0


def _sized(name: str, **own: Any) -> Callable[..., Any]:
    return lambda **more: getattr(transformers, name)(**SIZES | own | more)


def _gemma3(**more: Any) -> Any:
    text = _gemma3_text(**more)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    # The images' tokens are beyond what a text can hold, as in the real vocabulary.
    places = {"boi_token_index": 1, "eoi_token_index": 1, "image_token_index": 1}
    return transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **places)


_GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 10}
_gemma3_text = _sized("Gemma3TextConfig", **_GEMMA, layer_types=["sliding_attention", "full_attention"])
_LONG = {"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.75}
_LONG |= {"short_factor": [1.0, 1.2, 1.5], "long_factor": [1.0, 2.0, 4.0], "original_max_position_embeddings": 512}
_GRANITE = {"embedding_multiplier": 12.0, "attention_multiplier": 0.1, "residual_multiplier": 0.22}
_IM = ("<|im_start|>", "<|im_end|>")
_TURNS = ("<bos>", "<start_of_turn>", "<end_of_turn>", "<eos>")
_HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")

FAMILIES = {
    "qwen3": Family(
        "qwen3-8b",
        "Qwen3ForCausalLM",
        _sized("Qwen3Config", head_dim=16, tie_word_embeddings=False),
        QWEN,
        ("<|endoftext|>", *_IM),
        bos=False,
        plain=("<think>", "</think>"),
    ),
    "gemma3": Family(
        "gemma-3-4b-it", "Gemma3ForConditionalGeneration", _gemma3, GEMMA, _TURNS, ends=("<end_of_turn>",), shrink=0.02
    ),
    "gemma3_text": Family(
        None, "Gemma3ForCausalLM", _gemma3_text, NO_SYSTEM, _TURNS, ends=("<end_of_turn>",), shrink=0.02
    ),
    "mistral": Family(
        "mistral-7b-instruct-v0.3",
        "MistralForCausalLM",
        _sized("MistralConfig", sliding_window=None, tie_word_embeddings=False),
        MISTRAL,
        ("<s>", "[INST]", "[/INST]", "</s>"),
    ),
    "olmo2": Family(
        "olmo-2-1124-7b-instruct",
        "Olmo2ForCausalLM",
        _sized("Olmo2Config", num_key_value_heads=4, tie_word_embeddings=False),
        OLMO,
        ("<|endoftext|>",),
    ),
    "phi3": Family(
        "phi-4-mini-instruct",
        "Phi3ForCausalLM",
        _sized("Phi3Config", tie_word_embeddings=True, rope_parameters=_LONG, sliding_window=2048),
        PHI,
        ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"),
        ends=("<|end|>",),
        bos=False,
        linear=8,
    ),
    "smollm3": Family(
        "smollm3-3b",
        "SmolLM3ForCausalLM",
        _sized("SmolLM3Config", no_rope_layers=[1, 0], tie_word_embeddings=True),
        SMOLLM,
        ("<|end_of_text|>", *_IM),
        bos=False,
        plain=("<think>", "</think>"),
    ),
    "granite": Family(
        "granite-3.3-8b-instruct",
        "GraniteForCausalLM",
        _sized("GraniteConfig", **_GRANITE, logits_scaling=0.25, tie_word_embeddings=True),
        GRANITE,
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
        bos=False,
        shrink=0.02,
    ),
    "llama3.2": Family(
        "llama-3.2-3b-instruct",
        "LlamaForCausalLM",
        _sized("LlamaConfig", tie_word_embeddings=True),
        LLAMA,
        _HEADERS,
    ),
}
MIXTURES = {
    "mixtral": ("MixtralForCausalLM", _sized("MixtralConfig", num_local_experts=4, num_experts_per_tok=2)),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        _sized("Qwen3MoeConfig", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=16),
    ),
    "olmoe": ("OlmoeForCausalLM", _sized("OlmoeConfig", num_experts=4, num_experts_per_tok=2)),
}


@cache
def _words() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT * 4, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer.to_str()


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the family's marks and template."""
    words = Tokenizer.from_str(_words())
    words.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in family.marks])
    words.add_tokens([AddedToken(mark, normalized=False) for mark in family.plain])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=family.marks[0] if family.bos else None,
        eos_token=family.marks[-1],
        chat_template=family.template,
        clean_up_tokenization_spaces=False,
    )


def write_family(family: Family, directory: Path, seed: int = 0) -> Path:
    """Write a random model of the family whose answers end at different lengths; returns the folder."""
    tokenizer = tokenizer_of(family)
    eos = tokenizer.eos_token_id
    config = family.config(vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=eos)
    torch.manual_seed(seed)
    model = getattr(transformers, family.architecture)(config)
    ends = [tokenizer.convert_tokens_to_ids(mark) for mark in family.ends]
    # Besides the real ends, some ordinary tokens: a random model would nearly always go on to the limit.
    model.get_input_embeddings().weight.data *= family.shrink
    model.generation_config.eos_token_id = sorted({eos, *ends, *range(30, 300, 10)})
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
