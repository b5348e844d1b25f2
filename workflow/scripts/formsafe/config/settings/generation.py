"""How answers are generated, in process or by a server."""

import re
import shlex
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from formsafe.config.settings.base import Auto, Seed, Settings
from formsafe.core.redaction import has_secret, secret_names

# What a shell takes as the name of a variable; a pasted key often has other characters (`-`, `.`) or is longer.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")
# Keys that would pass for a name: `hf_...`, `gsk_...`, or any long mixture of digits and lower-case letters.
_KEY = re.compile(r"(?i:sk|hf|gsk|xai|r8|nvapi|pplx|key)_?(?=\w*\d)\w{16,}|AIza\w{20,}|(?=\w*\d)(?=\w*[a-z])\w{24,}")
# `{port}` in a command; other braces (JSON) are left alone.
_PLACEHOLDER = re.compile(r"\{[A-Za-z_]*\}")
_PLACEHOLDERS = ("{model}", "{port}", "{adapter}")


def _is_command(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        raise ValueError("has a quotation mark that does not close") from None
    if unknown := sorted(set(_PLACEHOLDER.findall(command)) - set(_PLACEHOLDERS)):
        raise ValueError(f"{', '.join(unknown)} is no placeholder; there are {', '.join(_PLACEHOLDERS)}")
    if missing := [name for name in _PLACEHOLDERS[:2] if name not in " ".join(words[1:])]:
        raise ValueError(f"lacks {' and '.join(missing)} among its arguments")
    if secret_names([*words, command]):
        raise ValueError("holds a key or password: servers read them from environment variables")
    return command


def _is_address(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"{address!r} is no address: write http://... or https://...")
    if has_secret(address):
        raise ValueError("holds a key or password: export the key in a variable and name that in key_variable")
    return address


def _has_no_key(body: dict[str, Any]) -> dict[str, Any]:
    if names := secret_names(body):
        raise ValueError(f"holds a key or password ({', '.join(names)}): a key belongs in key_variable's variable")
    return body


def _is_variable(name: str) -> str:
    # a pasted key must not be printed: the message does not repeat it
    if not _VARIABLE.fullmatch(name) or _KEY.match(name):
        raise ValueError("is the name of an environment variable, not a key: export the key in one, and name that")
    return name


class ServerSettings(Settings):
    """An OpenAI-compatible server (vLLM, SGLang, TGI, `transformers serve`, a hosted model): exactly one of `base_url`
    and `command`."""

    # What only says how replies are fetched determines no result: another address or more patience
    # changes neither results nor the journal's header.
    base_url: Annotated[str, AfterValidator(_is_address)] | None = Field(default=None, exclude=True)
    """Address of a server that runs already, up to and including `/v1`."""
    # left out while it is not set, so that results of servers elsewhere stay fresh
    command: Annotated[str, AfterValidator(_is_command)] | None = Field(
        default=None, exclude_if=lambda command: command is None
    )
    """Command by which every job starts a server of its own, with `{model}`, `{port}` and, in the arguments that runs
    without an adapter leave out, `{adapter}`; no shell reads it."""
    start_minutes: float = Field(default=20.0, gt=0, exclude=True)
    """Time that a server started by `command` has until it is ready."""
    model: str | None = None
    """Model name the server knows; with `command`, null is the model's folder."""
    key_variable: Annotated[str, AfterValidator(_is_variable)] | None = Field(default=None, exclude=True)
    """Name of the environment variable that holds the key (never the key itself)."""
    concurrency: int = Field(default=16, gt=0, exclude=True)
    """Requests under way at once."""
    timeout_seconds: float = Field(default=300.0, gt=0, exclude=True)
    """Time allowed for one request."""
    attempts: int = Field(default=6, gt=0, exclude=True)
    """Tries per request that the server fails, with back-off between them; refusals of a busy server are no tries."""
    patience_minutes: float = Field(default=30.0, gt=0, exclude=True)
    """How long a server may stay busy (429, 503, 529) without a single reply; fewer requests are sent meanwhile."""
    extra_body: Annotated[dict[str, Any], AfterValidator(_has_no_key)] = {}
    """Further fields of every request, in place of ours of the same name; null leaves a field out."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "ServerSettings":
        if (self.base_url is None) == (self.command is None):
            raise ValueError("give exactly one of base_url (a server that runs) and command (one that jobs start)")
        if self.command is None and self.model is None:
            raise ValueError("model is missing: the name that the server at base_url knows")
        return self


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


class FirstTokenSettings(Settings):
    """A run's probabilities along the base model's refusals: forward passes only, nothing is generated."""

    depth: int = Field(default=20, ge=0)
    """Tokens of the refusal behind its first that are followed."""


class GenerationSettings(Decoding):
    """How a model answers."""

    token_budget: PositiveInt | Auto = "auto"
    """Tokens (prompt and answer, padding included) in memory at once; `auto` follows `gpu_memory_gb`."""
    server: ServerSettings | None = None
    """Answer through a server instead of in process: one elsewhere (the judge and the base model only), or one that
    each job starts."""
    threads: int = Field(default=1, gt=0)
    """CPU threads of PyTorch; pinned, since results differ between thread counts."""

    @property
    def elsewhere(self) -> bool:
        """Whether a server on another machine answers, so that the job loads no model and needs no GPU."""
        return self.server is not None and self.server.command is None
