"""What OpenAI-compatible servers say, each in its own dialect: replies, refusals, prompts that are too long."""

import re
from collections.abc import Iterator
from typing import Any, Literal

from formsafe.generation.replies import FinishReason, Reply

Fault = Literal["refused", "no_room", "exhausted", "other"]
# Finish reasons of OpenAI, Anthropic, Google, Mistral, Cohere, Bedrock, DeepSeek, Zhipu, TGI, SGLang and their kin, in
# lower case. One that is not listed counts as a cut: such a reply gives a score only where its verdict is complete.
_STOP = {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "tool_calls", "tool_use", "function_call"}
_REFUSED = {
    *("content_filter", "content_filtered", "safety", "image_safety", "sensitive", "refusal", "prohibited_content"),
    *("blocklist", "recitation", "spii", "guardrail_intervened", "error_toxic"),
}
_BROKEN = {
    *("error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource", "unavailable"),
    *("engine_overloaded", "timeout", "malformed_function_call"),
}
MOST_TOKENS = 10_000_000  # of a reply; `completion_tokens: 10**400` would end the first division by it
# A code is one word, as `model_not_found`; only codes are shown, since a message may repeat the prompt.
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,59}")
# Codes by which servers say that a filter refused. Bare numbers: GLM (1300, 1301) and MiniMax (1026, 1027).
_REFUSAL_CODE = re.compile(
    r"content_?filter|content_?policy|content_management|data_?inspection|moderation|safety|sensitive|prohibited_content"
    r"|responsible_?ai|guardrail|policy_?violation|flagged|content_?blocked|unsafe_content|^130[01]$|^102[67]$",
    re.IGNORECASE,
)
_TOO_LONG_CODE = re.compile(
    r"context_(?:length|window|size)|exceed_context|(?:prompt|input|request)_?(?:is_)?too_(?:long|large)|max_?length"
    r"|string_above_max|token_limit_exceeded",
    re.IGNORECASE,
)
_EXHAUSTED_CODE = re.compile(r"insufficient_(?:quota|balance|credits|funds)|billing|payment|access_terminated", re.I)
# Where a service gives no code, how its message begins: what it repeats of a prompt comes later, if at all.
_REFUSAL_MESSAGE = re.compile(
    r"content exists risk|the response was filtered|output blocked by content|input data may contain inappropriate"
    r"|output data may contain inappropriate|your request was rejected as a result of our safety"
    r"|the request was rejected because it was considered high risk|.{0,60}requires moderation on",
    re.IGNORECASE,
)
_TOO_LONG_MESSAGE = re.compile(
    r"(?:input validation error: )?`?(?:this model'?s maximum context length|inputs?`? (?:must have less|tokens)"
    r"|(?:the )?(?:prompt|input|request)(?: \(?\d+ tokens\)?)?(?: length)? (?:is|are) (?:too|longer)"
    r"|the (?:input|prompt|request)[\w ()]{0,40} exceeds|the decoder prompt|requested token count exceeds"
    r"|input length|prompt length|please reduce the length|too many (?:input )?tokens)",
    re.IGNORECASE,
)


class Incomplete(ValueError):
    """A body that is no whole reply."""


def read_reply(body: Any) -> Reply:
    """Read a chat completion; raises Incomplete when it is not whole."""
    try:
        choice = body["choices"][0]
        message = choice.get("message", choice)
        refusal, thoughts = message.get("refusal"), _thoughts(message)
        content, inner = _content(message.get("content", choice.get("text")))
        tokens = (body.get("usage") or {}).get("completion_tokens")
        ended = str(choice.get("finish_reason") or "stop").lower()
    except (LookupError, TypeError, AttributeError):
        raise Incomplete("not a chat completion") from None
    if ended in _BROKEN or not isinstance(refusal, str | None):
        raise Incomplete(f"the reply broke off ({ended})" if ended in _BROKEN else "not a chat completion")
    reason: FinishReason = "stop" if ended in _STOP else "length"
    if refusal or ended in _REFUSED:
        reason = "refused"
    thoughts = "\n".join(filter(None, [thoughts, inner]))
    counted = tokens if type(tokens) is int and 0 <= tokens <= MOST_TOKENS else None
    return Reply(_writable(refusal or content), counted, reason, (), thoughts)


def fault_of(body: Any) -> tuple[Fault, str]:
    """What a server that gives no reply complains of, and its short code ("" without one)."""
    words = list(_strings(body))
    codes = [word for _, word in words if _CODE.fullmatch(word) or word.isdigit()]
    messages = [word for name, word in words if name in ("message", "error", "detail")]
    shown = next((word for name, word in words if name == "code" and _CODE.fullmatch(word)), "")
    if any(map(_EXHAUSTED_CODE.search, codes)):
        return "exhausted", shown
    if any(map(_TOO_LONG_CODE.search, codes)) or any(map(_TOO_LONG_MESSAGE.match, messages)):
        return "no_room", shown
    flagged = any(name == "flagged_input" for name, _ in words)  # how OpenRouter reports its moderation
    if flagged or any(map(_REFUSAL_CODE.search, codes)) or any(map(_REFUSAL_MESSAGE.match, messages)):
        return "refused", shown
    return "other", shown


def _strings(body: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """All texts and whole numbers of an error's body with their keys; a prompt that it repeats may be among them."""
    # Errors nest two or three deep; a hostile body could nest until Python's stack ends.
    if isinstance(body, dict) and depth < 6:
        for key, value in body.items():
            yield from _strings(value, str(key), depth + 1)
    elif isinstance(body, list) and depth < 6:
        for value in body:
            yield from _strings(value, name, depth + 1)
    elif isinstance(body, str | int) and not isinstance(body, bool):
        yield name, str(body)


def _content(content: Any) -> tuple[str, str]:
    """The text of a message's content, and the thoughts in it: a text, nothing, or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    texts, thoughts = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif part.get("type") in ("thinking", "reasoning", "thought"):
            inner = part.get("thinking") or part.get("reasoning") or part.get("text") or ""
            thoughts.append(_content(inner)[0])
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
    return "".join(texts), "\n".join(thoughts)


def _thoughts(message: Any) -> str:
    """Thoughts that a server keeps apart, under the names that vLLM, OpenRouter, Ollama and others give them."""
    found = (message.get(name) for name in ("reasoning_content", "reasoning", "thinking"))
    return next((_writable(text) for text in found if isinstance(text, str) and text), "")


def _writable(text: str) -> str:
    """Without lone surrogates, which cannot be written to a file."""
    return text.encode("utf-8", "replace").decode()
