"""Answers of an OpenAI-compatible server: bounded concurrency, patience with its faults, and the same journal."""

import asyncio
import math
import random
import time
from typing import Any

import httpx2
import openai
from tqdm import tqdm

from formsafe.config.settings.generation import Decoding, ServerSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import loads
from formsafe.core.redaction import sends_key_openly
from formsafe.generation.dialects import Incomplete, fault_of, read_reply
from formsafe.generation.journal import Journal
from formsafe.generation.replies import Prompt, Reply
from formsafe.generation.request_pace import LONGEST_WAIT, Busy, Pace, Transient
from formsafe.generation.server_client import key_of, make_client, request_body

# Worth another try: the server is starting, or in trouble.
_TRANSIENT = {408, 409, 425, 500, 502, 504}
# Too many requests at once: all of them pause, and fewer are sent.
_BUSY = {429, 503, 529}


class ServerEngine:
    """An OpenAI-compatible server.

    Args:
        settings: address, model name, concurrency, patience.
        backoff_seconds: wait before the second try; it doubles from try to try.
    """

    def __init__(self, settings: ServerSettings, backoff_seconds: float = 1.0) -> None:
        self.settings = settings
        self.backoff_seconds = backoff_seconds
        # asked for here so that a missing key is an error before any work
        if key_of(settings) is not None and sends_key_openly(str(settings.base_url)):
            print(f"warning: the key goes to {settings.base_url} unencrypted; take https, or a tunnel to this machine.")

    def describe(self) -> dict[str, Any]:
        """What determines the replies besides prompts and settings: the model, wherever it is served."""
        return {"server_model": self.settings.model}

    def record(self, journal: Journal) -> dict[str, Any]:
        """How the replies came."""
        return {"server": self.settings.base_url}

    def room(self, prompt: Prompt) -> float:
        """A server counts tokens itself, and refuses what is too long."""
        return math.inf

    def close(self) -> None:
        """Nothing was started."""

    def complete(self, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str) -> None:
        """Answer what the journal's section lacks, each reply journalled when it arrives.

        Raises:
            FormsafeError: when the server refuses a request, or fails one as often as the settings allow.
        """
        left = [prompt for prompt in prompts if prompt.id not in journal.replies(section)]
        if not left:
            return
        done = len(prompts) - len(left)
        with tqdm(total=len(prompts), initial=done, desc=section, unit="prompt", mininterval=5) as bar:
            try:
                asyncio.run(self._complete(left, decoding, journal, section, bar))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _complete(
        self, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str, bar: tqdm
    ) -> None:
        waiting = iter(prompts)
        pace = Pace(self.settings, self.backoff_seconds)
        last = time.perf_counter()

        async def work(client: openai.AsyncOpenAI) -> None:
            nonlocal last
            for prompt in waiting:  # the workers share the iterator: each prompt goes to one of them
                reply = await self._ask(client, pace, prompt, decoding)
                # Requests overlap, so that the sum of their times would be too long: the time between replies counts.
                last, before = time.perf_counter(), last
                journal.add(section, {prompt.id: reply.record()}, tokens=reply.tokens, seconds=round(last - before, 4))
                bar.update()

        async with make_client(self.settings) as client, asyncio.TaskGroup() as group:
            for _ in range(min(self.settings.concurrency, len(prompts))):
                group.create_task(work(client))

    async def _ask(self, client: openai.AsyncOpenAI, pace: Pace, prompt: Prompt, decoding: Decoding) -> Reply:
        """Ask until there is a reply, waiting longer from try to try; a busy server costs no try."""
        number = 0
        while True:
            seen = await pace.enter()
            reply = None
            try:
                reply = await self._try(client, prompt, decoding)
                return reply
            except Transient as error:
                fault = error
            finally:
                await pace.leave(reply is not None)
            if isinstance(fault, Busy):
                await pace.pause(seen, fault)
                continue
            number += 1
            print(f"Prompt {prompt.id}, try {number} of {self.settings.attempts}: {fault}.")
            if number == self.settings.attempts:
                raise FormsafeError(
                    f"The server {self.settings.base_url} failed prompt {prompt.id} {number} times ({fault}). "
                    "See whether it runs and has room, then run again: the replies so far are kept."
                )
            wait = min(LONGEST_WAIT, self.backoff_seconds * 2 ** (number - 1))
            await asyncio.sleep(wait * random.uniform(1.0, 1.25))  # so that not all come back at once

    async def _try(self, client: openai.AsyncOpenAI, prompt: Prompt, decoding: Decoding) -> Reply:
        body = request_body(self.settings, prompt, decoding)
        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                response = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
            content = loads(response.content)
        except TimeoutError:
            raise Transient(f"no answer within {self.settings.timeout_seconds:g} s") from None
        except openai.APIStatusError as error:
            return self._fault(error.status_code, _json(error.response), _retry_after(error.response), prompt)
        except openai.APIConnectionError as error:
            raise Transient(f"connection failed ({type(error.__cause__ or error).__name__})") from None
        except ValueError:
            raise Transient("not a chat completion") from None
        if isinstance(content, dict) and "error" in content and not content.get("choices"):
            # a fault under status 200, as services that pass requests on to others report it
            code = content["error"].get("code") if isinstance(content["error"], dict) else None
            return self._fault(code if isinstance(code, int) else 502, content, 0.0, prompt)
        try:
            return read_reply(content)
        except Incomplete as error:
            raise Transient(str(error)) from None

    def _fault(self, status: int, body: Any, wait: float, prompt: Prompt) -> Reply:
        """The reply in place of a request that the service declines; raises for every other fault."""
        fault, code = fault_of(body)
        if status in _BUSY and fault != "exhausted":
            raise Busy(f"status {status}", wait)
        if status in _TRANSIENT:
            raise Transient(f"status {status}", wait)
        if fault in ("refused", "no_room") and status not in (401, 404):  # it will say the same at every try
            return Reply("", 0, fault)
        raise FormsafeError(
            f"The server {self.settings.base_url} refused a request with status {status} for model "
            f"{self.settings.model} (prompt {prompt.id}; {code or 'it gives no reason'}). Check base_url (it ends in "
            "/v1 as a rule), model, key_variable and the server itself, then run again: the replies so far are kept. "
            "After a change of model, extra_body or max_new_tokens the stage starts again."
        )


def _json(response: httpx2.Response) -> Any:
    try:
        return loads(response.content)
    except ValueError:
        return None


def _retry_after(response: httpx2.Response) -> float:
    """Seconds that the server asks to wait, at most the longest wait; 0 where it gives no number."""
    try:
        seconds = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return 0.0
    return min(LONGEST_WAIT, max(0.0, seconds)) if math.isfinite(seconds) else 0.0
