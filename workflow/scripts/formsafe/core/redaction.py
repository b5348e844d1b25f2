"""Secrets: what looks like one is refused in a configuration, and never shown anywhere else."""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

HIDDEN = "[hidden]"
# Names whose values are secrets, as whole words: `api_key`, `X-Amz-Signature`, but not `max_tokens` or `eos_token`.
_NAME = (
    r"(?:[a-z0-9]+[-_])*(?:api[-_]?key|apikey|access[-_]?key|secret[-_]?key|private[-_]?key|client[-_]?secret"
    r"|(?:access|auth|session|refresh|bearer|security|hf|api)[-_]?token|secret|passw(?:or)?d|pwd|authorization"
    r"|credentials?|signature)"
)
# In an address a bare `token=`, `key=` or `sig=` is a secret, too.
_QUERY_NAME = rf"(?:{_NAME}|token|key|sig|auth|code)"
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
# The name of a field in an address as a whole: `token`, not `tokens`.
_SECRET_QUERY = re.compile(_QUERY_NAME, re.IGNORECASE)
# The names of environment variables whose values are secrets.
_SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
_PATTERNS = (
    # `https://user:password@host` and `https://token@host`; the text up to `@` holds no slash. The bound of the
    # scheme keeps the time linear: without it a text such as `a.a.a.` takes seconds at 40 kB.
    (r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@'\"<>]{1,500}@", rf"\1{HIDDEN}@"),
    (rf"([?&;]{_QUERY_NAME}=)[^\s&#;'\"<>]+", rf"\1{HIDDEN}"),
    (r"\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}", rf"\1 {HIDDEN}"),
    # `"api_key": "..."`, `api_key=...`, `password: ...`; values under four characters (`password: no`) are none
    (rf"(\b{_NAME}['\"]?\s*[:=]\s*['\"]?)(?!\[hidden\])[^\s'\",;}}&]{{4,}}", rf"\1{HIDDEN}"),
    # the services' own forms of keys: OpenAI and kin, Hugging Face, GitHub, Slack, Google, AWS, Groq, NVIDIA
    (r"\b(?:sk-|hf_|gh[pousr]_|github_pat_|xox[abprs]-|gsk_|nvapi-|xai-|r8_|pplx-)[a-z0-9_-]{12,}", HIDDEN),
    (r"\b(?:AIza[0-9a-z_-]{30,}|A(?:KI|SI)A[0-9A-Z]{16})\b", HIDDEN),
)


def redact(text: str) -> str:
    """`text` without anything that looks like a key, a password or a token, nor a value of such a variable here."""
    for name, value in os.environ.items():
        # A shorter value, such as `1` of a switch, would hide that text wherever a log holds it.
        if len(value) >= 8 and _SECRET_VARIABLE.search(name):
            text = text.replace(value, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)
    return text


def redacted(value: Any) -> Any:
    """JSON-ready `value` with every text redacted, and everything hidden whose name says that it is a secret."""
    if isinstance(value, Mapping):
        secret = {key for key, item in value.items() if item and _SECRET_NAME.fullmatch(str(key))}
        return {key: HIDDEN if key in secret else redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def secret_names(value: Any) -> list[str]:
    """Keys at any depth of a section of the configuration whose values would be secrets."""
    if isinstance(value, Mapping):
        own = [str(key) for key, item in value.items() if item and _SECRET_NAME.fullmatch(str(key))]
        return own + [name for item in value.values() for name in secret_names(item)]
    if isinstance(value, list | tuple):
        return [name for item in value for name in secret_names(item)]
    return ["a text in the form of a key"] if isinstance(value, str) and redact(value) != value else []


def has_secret(url: str) -> bool:
    """Whether an address holds a login, or a field such as `token=`, other than the name of a variable (`$NAME`)."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    fields = [value for name, value in parse_qsl(parts.query) if _SECRET_QUERY.fullmatch(name)]
    return any(value and "$" not in value for value in (login, *fields))


def sends_key_openly(url: str) -> bool:
    """Whether a key sent to `url` could be read on the way: plain http to another machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    here = host in ("localhost", "::1") or host.startswith("127.")
    return parts.scheme == "http" and not here
