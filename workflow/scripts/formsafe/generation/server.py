"""Answers of an OpenAI-compatible server: bounded concurrency, patience with its faults, and the same journal."""

import asyncio
import math
import os
import random
import re
import time
from typing import Any

import httpx
from tqdm import tqdm

from formsafe.config.settings.generation import Decoding, ServerSettings
from formsafe.core.errors import FormsafeError
from formsafe.generation.journal import Journal
from formsafe.generation.replies import FinishReason, Prompt, Reply

# Worth another try: the server is busy, starting, or in trouble.
_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_LONGEST_WAIT = 60.0
# A server turns text that spells a special token into that token. We cannot see its vocabulary, so text of these shapes
# gets a zero-width space after its first character.
_SPECIAL = re.compile(
    r"(?=<\|[^<>|\n]{1,60}\|>|</?s>|<<?/?SYS>>?|\[/?INST\]|(?-i:\[/?[A-Z_]{3,20}\])"
    r"|<(?:start|end)_of_\w{1,30}>|<(?:bos|eos|pad|unk|mask)>|</?(?:think|tool_call|tool_response)>|<extra_id_\d{1,4}>"
    r"|<｜[^<>\n]{1,60}｜>|<\[[^<>\n]{1,60}\]>)(.)",
    re.IGNORECASE,
)


class Transient(Exception):
    """A fault that may be over at the next try; its text is fit for a log. `wait`: seconds the server asks for."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class ServerEngine:
    """An OpenAI-compatible server.

    Args:
        settings: address, model name, concurrency, patience.
        backoff_seconds: wait before the second try; it doubles from try to try.
    """

    def __init__(self, settings: ServerSettings, backoff_seconds: float = 1.0) -> None:
        self.settings = settings
        self.backoff_seconds = backoff_seconds
        self._headers = {"Authorization": f"Bearer {_key(settings.key_variable)}"} if settings.key_variable else {}

    def describe(self) -> dict[str, Any]:
        """What determines the replies besides prompts and settings: the model, wherever it is served."""
        return {"server_model": self.settings.model}

    def record(self, journal: Journal) -> dict[str, Any]:
        """How the replies came."""
        return {"server": self.settings.base_url}

    def room(self, prompt: Prompt) -> float:
        """A server counts tokens itself, and refuses what is too long."""
        return math.inf

    def complete(self, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str) -> None:
        """Answer what the journal's section lacks, each reply journalled as it comes.

        Raises:
            FormsafeError: when the server refuses a request, or fails one as often as the settings allow.
        """
        left = [prompt for prompt in prompts if prompt.id not in journal.replies(section)]
        if not left:
            return
        with tqdm(
            total=len(prompts), initial=len(prompts) - len(left), desc=section, unit="prompt", mininterval=5
        ) as bar:
            try:
                asyncio.run(self._complete(left, decoding, journal, section, bar))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _complete(
        self, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str, bar: tqdm
    ) -> None:
        waiting = iter(prompts)
        limits = httpx.Limits(max_connections=self.settings.concurrency)
        last = time.perf_counter()

        async def work(client: httpx.AsyncClient) -> None:
            nonlocal last
            for prompt in waiting:  # the workers share the iterator: each prompt goes to one of them
                reply = await self._ask(client, prompt, decoding)
                last, before = time.perf_counter(), last  # requests overlap: seconds since the last reply add up
                journal.add(section, {prompt.id: reply.record()}, tokens=reply.tokens, seconds=round(last - before, 4))
                bar.update()

        async with (
            httpx.AsyncClient(headers=self._headers, timeout=None, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(min(self.settings.concurrency, len(prompts))):
                group.create_task(work(client))

    async def _ask(self, client: httpx.AsyncClient, prompt: Prompt, decoding: Decoding) -> Reply:
        """Ask until there is a reply, waiting longer from try to try."""
        for number in range(1, self.settings.attempts + 1):
            try:
                return await self._try(client, prompt, decoding)
            except Transient as fault:
                wait = max(min(_LONGEST_WAIT, self.backoff_seconds * 2 ** (number - 1)), fault.wait)
                print(f"Prompt {prompt.id}, try {number} of {self.settings.attempts}: {fault}.")
                if number == self.settings.attempts:
                    raise FormsafeError(
                        f"The server {self.settings.base_url} failed prompt {prompt.id} {number} times ({fault}). "
                        "See whether it runs and has room, then run again: the replies so far are kept."
                    ) from None
                await asyncio.sleep(wait * random.uniform(1.0, 1.25))  # so that not all come back at once
        raise AssertionError("attempts is at least 1")

    async def _try(self, client: httpx.AsyncClient, prompt: Prompt, decoding: Decoding) -> Reply:
        address = f"{self.settings.base_url.rstrip('/')}/chat/completions"
        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                response = await client.post(address, json=request_body(self.settings, prompt, decoding))
        except TimeoutError:
            raise Transient(f"no answer within {self.settings.timeout_seconds:g} s") from None
        except httpx.TransportError as error:
            raise Transient(f"connection failed ({type(error).__name__})") from None
        if response.status_code in _TRANSIENT:
            raise Transient(f"status {response.status_code}", _retry_after(response))
        if response.status_code != httpx.codes.OK:
            reason = refusal_code(response)
            if reason == "content_filter":  # the service will not say anything to this prompt, at no try
                return Reply("", 0, "refused")
            raise FormsafeError(
                f"The server {self.settings.base_url} refused a request with status {response.status_code} for model "
                f"{self.settings.model} (prompt {prompt.id}; {reason or 'it gives no reason'}). Check base_url, "
                "key_variable and the server itself, then run again: the replies so far are kept. After a change of "
                "model, extra_body or max_new_tokens the stage starts afresh."
            )
        return read_reply(response)


def request_body(settings: ServerSettings, prompt: Prompt, decoding: Decoding) -> dict[str, Any]:
    """A request for one chat completion."""
    opening = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    body = {
        "model": settings.model,
        "messages": [*opening, {"role": "user", "content": disarm(prompt.text)}],
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
    }
    if decoding.temperature > 0:
        body |= {"top_p": decoding.top_p, "seed": decoding.seed}
    return {key: value for key, value in (body | settings.extra_body).items() if value is not None}


def disarm(text: str) -> str:
    """Break up text that spells a special token of a common chat model by a zero-width space."""
    return _SPECIAL.sub("\\1\u200b", text)


def read_reply(response: httpx.Response) -> Reply:
    """Read a chat completion; raises Transient when it is not whole."""
    try:
        body = response.json()
        choice = body["choices"][0]
        message = choice["message"]
        refusal = message.get("refusal")
        text = refusal or message["content"] or ""
        tokens = (body.get("usage") or {}).get("completion_tokens")
        ended = choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Transient("not a chat completion") from None
    if not isinstance(text, str):
        raise Transient("not a chat completion")
    text = text.encode("utf-8", "replace").decode()  # lone surrogates cannot be written to a file
    refused = bool(refusal) or ended == "content_filter"
    reason: FinishReason = "refused" if refused else "length" if ended == "length" else "stop"
    return Reply(text, tokens if isinstance(tokens, int) else None, reason)


def refusal_code(response: httpx.Response) -> str:
    """The short code of a refused request, as `model_not_found`; "" without one. A message might repeat the prompt."""
    try:
        code = response.json()["error"]["code"]
    except (ValueError, LookupError, TypeError):
        return ""
    return code if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code) else ""


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, at most the longest wait; 0 where it gives no number."""
    try:
        seconds = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return 0.0
    return min(_LONGEST_WAIT, max(0.0, seconds)) if math.isfinite(seconds) else 0.0


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or not key:
        raise FormsafeError(
            f"The environment variable {variable} (key_variable of the server's settings) holds no key. Export it "
            "before starting, also on the nodes where jobs run."
        )
    return key
