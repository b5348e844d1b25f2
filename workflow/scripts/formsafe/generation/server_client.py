"""The client of a server: openai's own, over a transport that bounds replies and sends no other key than ours."""

import os
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai

from formsafe.config.settings.generation import Decoding, ServerSettings
from formsafe.core.errors import FormsafeError
from formsafe.generation.replies import Prompt

MOST_BYTES = 16 * 2**20  # of one reply; a server that sends without end would fill the memory
# A server turns text that spells a special token into that token. We cannot see its vocabulary, so text of these shapes
# gets a zero-width space after its first character.
_SPECIAL = re.compile(
    r"(?=<\|[^<>|\n]{1,60}\|>|</?s>|<<?/?SYS>>?|\[/?INST\]|(?-i:\[/?[A-Z_]{3,20}\])"
    r"|<(?:start|end)_of_\w{1,30}>|<(?:bos|eos|pad|unk|mask)>|</?(?:think|tool_call|tool_response)>|<extra_id_\d{1,4}>"
    r"|<｜[^<>\n]{1,60}｜>|<\[[^<>\n]{1,60}\]>)(.)",
    re.IGNORECASE,
)


def make_client(settings: ServerSettings) -> openai.AsyncOpenAI:
    """A client without retries: `ServerEngine` tries again by itself and logs each try."""
    limits = httpx2.Limits(max_connections=settings.concurrency)
    http = httpx2.AsyncClient(transport=_Transport(key_of(settings), limits), timeout=None)
    return openai.AsyncOpenAI(api_key="none", base_url=settings.base_url, max_retries=0, http_client=http)


class _Transport(httpx2.AsyncHTTPTransport):
    """Sends the configured key, none from the client's own environment variables, and reads no endless reply."""

    def __init__(self, key: str | None, limits: httpx2.Limits) -> None:
        super().__init__(limits=limits)
        self._own_key = key

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        for name in ("authorization", "openai-organization", "openai-project"):
            request.headers.pop(name, None)
        if self._own_key is not None:
            request.headers["authorization"] = f"Bearer {self._own_key}"
        request.headers["accept-encoding"] = "identity"  # so that the bytes counted are those kept
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Capped(response.stream)
        return response


class _Capped(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        async for part in self._stream:
            taken += len(part)
            if taken > MOST_BYTES:
                raise httpx2.ReadError(f"more than {MOST_BYTES} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def request_body(settings: ServerSettings, prompt: Prompt, decoding: Decoding) -> dict[str, Any]:
    """A request for one chat completion."""
    opening = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    answer = [] if prompt.assistant is None else [{"role": "assistant", "content": disarm(prompt.assistant)}]
    body = {
        "model": settings.model,
        "messages": [*opening, {"role": "user", "content": disarm(prompt.text)}, *answer],
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
    }
    if decoding.temperature > 0:
        body |= {"top_p": decoding.top_p, "seed": decoding.seed}
    return {key: value for key, value in (body | settings.extra_body).items() if value is not None}


def disarm(text: str) -> str:
    """Break up text that spells a special token of a common chat model by a zero-width space."""
    return _SPECIAL.sub("\\1\u200b", text)


def key_of(settings: ServerSettings) -> str | None:
    """The key in the configured variable, None where none is configured; raises FormsafeError where it is empty."""
    if settings.key_variable is None:
        return None
    key = os.environ.get(settings.key_variable, "").strip()
    if not key.isascii() or not key.isprintable() or not key:
        raise FormsafeError(
            f"The environment variable {settings.key_variable} (key_variable of the server's settings) holds no key. "
            "Export it before starting, also on the nodes where jobs run."
        )
    return key
