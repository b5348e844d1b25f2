"""Chats become token ids: the model's own template, one BOS, and special-token text in a message stays plain text."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import NamedTuple

from jinja2 import TemplateError
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from formsafe.config.settings.models import TEMPLATE_DATE
from formsafe.core.errors import FormsafeError
from formsafe.core.limits import bounded
from formsafe.core.texts import normalise

# Stand-ins for special-token text, as long as the text itself so that offsets stay right: a template's own special
# tokens use characters from _OWN on, special-token text inside a message characters from _QUOTED on.
_OWN, _QUOTED = 0xF0000, 0x100000
# Attributes under which a tokenizer carries its encoder of quoted text, its template's arguments and special tokens.
_ENCODERS, _ARGUMENTS = "_formsafe_plain_encoder", "_formsafe_template_arguments"
_SPECIALS = "_formsafe_special_tokens"
# Of the added tokens that are not listed as special: role markers (`<|User|>`), but neither white space nor words.
_MARKUP = re.compile(r"[^\w\s▁].*\w", re.DOTALL)


def set_template_arguments(
    tokenizer: PreTrainedTokenizerFast, date: str = TEMPLATE_DATE, thinking: bool = False
) -> None:
    """Fix what a model's chat template may ask for besides the messages: today's date, and whether the model thinks.

    Templates ask for the clock by `strftime_now(format)` (Granite, SmolLM3, gpt-oss) or for a `date_string` (Llama 3);
    a real clock would give training, answers and a stage that goes on after midnight different prompts. For thinking
    they have different names, too: `enable_thinking` (Qwen3, SmolLM3), `thinking` (Granite, DeepSeek).

    Args:
        tokenizer: carries the arguments from here on.
        date: the date that the template takes for today, YYYY-MM-DD.
        thinking: whether the template leaves room for thoughts before the answer.
    """
    today = datetime.fromisoformat(date)
    arguments = {"date_string": today.strftime("%d %b %Y"), "enable_thinking": thinking, "thinking": thinking}
    setattr(tokenizer, _ARGUMENTS, (today, arguments))


@contextmanager
def _clock_at(today: datetime) -> Iterator[None]:
    """Let templates find it to be midnight of `today`.

    transformers answers their question for the time from its module's `datetime`; a function among a template's
    arguments cannot take its place, since transformers turns it into text.
    """

    class Fixed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Fixed":
            return cls(today.year, today.month, today.day, tzinfo=tz)

    real = chat_template_utils.datetime
    chat_template_utils.datetime = Fixed  # type: ignore[misc]
    try:
        yield
    finally:
        chat_template_utils.datetime = real  # type: ignore[misc]


class Exchange(NamedTuple):
    """One instruction and its response as the model sees them.

    `offsets` are character ranges in `text`; `content_start` is the place of the response's first character there
    (a template may strip white space: `content_skipped` characters of the response are missing before it).
    """

    text: str
    ids: list[int]
    offsets: list[tuple[int, int]]
    prompt_length: int
    content_start: int
    content_skipped: int


def render_prompt(
    tokenizer: PreTrainedTokenizerFast, user: str, system: str | None = None, assistant: str | None = None
) -> list[int]:
    """Token ids of the model's chat template up to where the assistant's answer begins.

    The template writes the only BOS. Text in `user` or `system` that spells a special token is encoded as plain text.
    """
    messages = _messages(user, system)
    if assistant is not None:  # a judge that takes the conversation through its own template (Llama Guard)
        messages.append({"role": "assistant", "content": assistant})
    return _encode(tokenizer, messages, generation_prompt=True)[1]


def render_exchange(
    tokenizer: PreTrainedTokenizerFast, user: str, assistant: str, system: str | None = None
) -> Exchange:
    """Token ids of a whole exchange, with what training needs to find the response in it.

    Raises:
        FormsafeError: where the template's prompt is not a prefix of the exchange, or where it rewrites the response.
    """
    prompt, prompt_ids, _ = _encode(tokenizer, _messages(user, system), generation_prompt=True)
    messages = [*_messages(user, system), {"role": "assistant", "content": assistant}]
    text, ids, offsets = _encode(tokenizer, messages, generation_prompt=False)
    if not text.startswith(prompt) or ids[: len(prompt_ids)] != prompt_ids:
        raise FormsafeError(
            f"The chat template of {tokenizer.name_or_path} gives a prompt that is not the beginning of the whole "
            "exchange, so the response cannot be told from the prompt. Use a model whose template is consistent."
        )
    start, skipped = _find_response(text, assistant, len(prompt), tokenizer)
    return Exchange(text, ids, offsets, len(prompt_ids), start, skipped)


def _find_response(text: str, response: str, begin: int, tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    stripped = response.strip()
    for wanted, skipped in ((response, 0), (stripped, len(response) - len(response.lstrip()))):
        place = text.find(wanted, begin)
        if place >= 0:
            return place, skipped
    raise FormsafeError(
        f"The chat template of {tokenizer.name_or_path} rewrites the response (more than stripping white space), so "
        "its tokens cannot be found. Use a model whose template writes the response as it is."
    )


def _messages(user: str, system: str | None) -> list[dict[str, str]]:
    opening = [] if system is None else [{"role": "system", "content": system}]
    return [*opening, {"role": "user", "content": user}]


def _render(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]], generation_prompt: bool) -> str:
    if not hasattr(tokenizer, _ARGUMENTS):
        set_template_arguments(tokenizer)
    today, arguments = getattr(tokenizer, _ARGUMENTS)
    try:
        with bounded(f"The chat template of {tokenizer.name_or_path}"), _clock_at(today):
            text = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation_prompt, **arguments
            )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise FormsafeError(
            f"The chat template of {tokenizer.name_or_path} refuses a chat of {roles}: {error}. Where it knows no "
            "system role, leave the method's system prompts out (null) for this model."
        ) from None
    assert isinstance(text, str)
    system = next((message["content"] for message in messages if message["role"] == "system"), "")
    # Some templates (Phi-3) have no place for a system prompt and say nothing: the run would be recorded with it.
    if normalise(system) not in normalise(text):
        raise FormsafeError(
            f"The chat template of {tokenizer.name_or_path} drops the system prompt. Leave the method's system prompts "
            "out (null) for this model, or use a model whose template writes them."
        )
    return text


def _encode(
    tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]], generation_prompt: bool
) -> tuple[str, list[int], list[tuple[int, int]]]:
    """Text, ids and character offsets; ordinary messages are encoded in one call, as the model's makers do."""
    specials, spelled = _spelled_specials(tokenizer)
    if any(spelled.search(message["content"]) for message in messages):
        return _encode_quoted(tokenizer, messages, generation_prompt, specials)
    text = _render(tokenizer, messages, generation_prompt)
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    return text, encoding.ids, encoding.offsets


def _encode_quoted(
    tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]], generation_prompt: bool, specials: list[str]
) -> tuple[str, list[int], list[tuple[int, int]]]:
    """Encode messages that spell special tokens: only those that the template itself writes become special."""
    if any(ord(character) >= _OWN for message in messages for character in message["content"]):
        raise FormsafeError("A text both spells a special token of the model and uses private characters; remove it.")
    quoted = [(special, chr(_QUOTED + index) * len(special)) for index, special in enumerate(specials)]
    own = [(special, chr(_OWN + index) * len(special)) for index, special in enumerate(specials)]
    hidden = [{**message, "content": _replace(message["content"], quoted)} for message in messages]
    text = _render(tokenizer, hidden, generation_prompt)
    masked = _replace(_replace(text, own), [(stand_in, special) for special, stand_in in quoted])
    encoder, back = _plain_encoder(tokenizer, own)
    encoding = encoder.encode(masked, add_special_tokens=False)
    ids = [back.get(token, token) for token in encoding.ids]
    return _replace(text, [(stand_in, special) for special, stand_in in quoted]), ids, encoding.offsets


def _replace(text: str, pairs: list[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _spelled_specials(tokenizer: PreTrainedTokenizerFast) -> tuple[list[str], re.Pattern[str]]:
    """The texts of special tokens, longest first, and an expression that finds any of them.

    Kept on the tokenizer: Gemma has 6,400 added tokens, and listing them took 75 ms for every exchange.
    """
    size, specials, spelled = getattr(tokenizer, _SPECIALS, (None, None, None))
    if size != len(tokenizer) or specials is None or spelled is None:
        specials = sorted((token.content for token in _special_tokens(tokenizer).values()), key=len, reverse=True)
        # Without any token the expression would be empty and find something in every text.
        spelled = re.compile("|".join(map(re.escape, specials)) or r"(?!)")
        setattr(tokenizer, _SPECIALS, (len(tokenizer), specials, spelled))
    return specials, spelled


def _special_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[int, AddedToken]:
    """By their ids, tokens that text in a message must not become: a model's role markers need not be `special`."""
    added = tokenizer.added_tokens_decoder
    return {index: token for index, token in added.items() if token.special or _MARKUP.match(token.content)}


def _plain_encoder(tokenizer: PreTrainedTokenizerFast, own: list[tuple[str, str]]) -> tuple[Tokenizer, dict[int, int]]:
    """A copy of the tokenizer that reads special tokens as text, and their stand-ins as the special tokens.

    Stand-ins are ordinary added tokens with the same rules for white space, so the text is cut where it would be cut.
    """
    kept: tuple[Tokenizer, dict[int, int]] | None = getattr(tokenizer, _ENCODERS, None)
    if kept is None:
        stand_ins = dict(own)
        encoder = copy.deepcopy(tokenizer.backend_tokenizer)
        specials = _special_tokens(tokenizer)
        encoder.add_special_tokens(list(specials.values()))  # else `encode_special_tokens` would not read them as text
        for token in specials.values():  # which are copies: the tokenizer's own stay as they are
            token.content, token.special = stand_ins[token.content], False
        encoder.add_tokens(list(specials.values()))
        back: dict[int, int] = {}
        for index, stand_in in specials.items():
            stand_in_id = encoder.token_to_id(stand_in.content)
            assert stand_in_id is not None
            back[stand_in_id] = index
        encoder.encode_special_tokens = True
        kept = (encoder, back)
        setattr(tokenizer, _ENCODERS, kept)
    return kept
