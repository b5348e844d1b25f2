"""How answers are generated, in process or by a server."""

from typing import Literal

from pydantic import Field, PositiveInt

from formsafe.settings.base import Auto, Seed, Settings


class ServerSettings(Settings):
    """An OpenAI-compatible server (vLLM, SGLang, TGI, `transformers serve`, a hosted model)."""

    base_url: str
    """Address up to and including `/v1`."""
    model: str
    """Model name the server knows."""
    key_variable: str | None = None
    """Environment variable that holds the key."""
    concurrency: int = Field(default=16, gt=0)
    """Requests under way at once."""
    timeout_seconds: float = Field(default=300.0, gt=0)
    """Time allowed for one request."""
    attempts: int = Field(default=6, gt=0)
    """Tries a request, with back-off between them."""


class Decoding(Settings):
    """How tokens are chosen (the paper does not say; assumed greedy, at most 512 new tokens)."""

    max_new_tokens: int = Field(default=512, gt=0)
    """Longest answer in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus of the sampling distribution; without effect when greedy."""
    seed: Seed = 0
    """Seed when sampling."""


class GenerationSettings(Decoding):
    """How a model answers."""

    token_budget: PositiveInt | Auto = "auto"
    """Tokens (prompt and answer, padding included) in memory at once; `auto` follows `gpu_memory_gb`."""
    cache: Literal["dynamic", "static", "continuous"] | Auto = "auto"
    """`auto`, `dynamic`: own loop, which drops ended answers; `static`, `continuous`: transformers', greedy only."""
    server: ServerSettings | None = None
    """Answer through a server instead of in process (the judge and the base model only)."""
    threads: int = Field(default=1, gt=0)
    """CPU threads of PyTorch; pinned, since results differ between thread counts."""
