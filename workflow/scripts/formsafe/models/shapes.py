"""Shapes of decoder models: what memory plans and cost estimates are computed from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """A Llama-like decoder: attention with shared key and value heads, gated feed-forward layers."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool = False

    @property
    def linear_widths(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of one layer's seven matrices: q, k, v, o, gate, up, down."""
        query, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        attention = ((self.hidden, query), (self.hidden, keys), (self.hidden, keys), (query, self.hidden))
        return (*attention, *((self.hidden, self.intermediate),) * 2, (self.intermediate, self.hidden))

    @property
    def linear_parameters(self) -> int:
        """Parameters of the layers' matrices: those that are quantised and that get an adapter."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_widths)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of word embeddings and output layer, which stay in 16 bits."""
        return (1 if self.tied else 2) * self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters, norms included."""
        return self.linear_parameters + self.embedding_parameters + (2 * self.layers + 1) * self.hidden

    def lora_parameters(self, rank: int) -> int:
        """Parameters of an adapter of this rank on all matrices of the layers."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.linear_widths)

    @property
    def cache_bytes(self) -> int:
        """Bytes of one token's keys and values over all layers, in 16 bits."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_width


# From the models' public configurations.
LLAMA_3_1_8B = ModelShape(32, 4096, 14336, 32, 8, 128, 128256)
LLAMA_2_7B = ModelShape(32, 4096, 11008, 32, 32, 128, 32000)
KNOWN = (LLAMA_3_1_8B, LLAMA_2_7B)


def of_config(config: Mapping[str, Any]) -> ModelShape:
    """The shape that a model's config.json describes."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    return ModelShape(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        intermediate=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or hidden // heads,
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def of_size(parameters: float) -> ModelShape:
    """The shape of a model of which only the size is known: a known one within 1 %, else a guess that errs on the
    side of memory (every head with keys and values of its own, the largest vocabulary in use).

    The guess takes layers of width 128 a layer, as Llama models have, so that 12 x layers x width^2 parameters result.
    """
    for known in KNOWN:
        if abs(known.parameters / parameters - 1) < 0.01:
            return known
    layers = max(1, round((parameters / (12 * 128**2)) ** (1 / 3)))
    width = 128 * max(1, round((parameters / (12 * layers)) ** 0.5 / 128))
    return ModelShape(layers, width, round(8 * width / 3), width // 128, width // 128, 128, 131072)
