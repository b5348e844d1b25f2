"""Chat templates to ids: frozen for the two families, and no text in a message becomes a special token."""

import pytest
from tokenizers import AddedToken

from formsafe.core.errors import FormsafeError
from formsafe.models import chat
from formsafe.models.chat import render_exchange, render_prompt, set_template_arguments
from tests.chats import llama2, llama3

SYSTEM3 = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
# One id a byte in the frozen vocabulary, where no word of it applies.
PROMPT3_TAIL = [288, 286, 258, 287, 272, 40, 82, 220, 72, 83, 279, 30, 288, 286, 271, 287, 272]
RESPONSE3 = [282, 13, 276, 220, 72, 83, 283, 46, 74, 288]
PROMPT2 = [1, 330, 333, 313, 259, 294, 278, 259, 268, 279, 329, 320, 334, 333, 313]
RESPONSE2 = [259, 291, 268, 271, 271, 317, 326, 259, 268, 279, 317, 13, 300, 270, 259, 2]


@pytest.fixture(params=[llama3, llama2], ids=["llama3", "llama2"])
def tokenizer(request):
    return request.param()


def test_llama3_ids_are_frozen_with_one_bos_and_a_fixed_date():
    tokenizer = llama3()
    exchange = render_exchange(tokenizer, "Is it dry?", "Fill. Wipe it.\nOk")
    prompt = render_prompt(tokenizer, "Is it dry?")
    assert prompt[:5] == [284, 286, 263, 287, 272]
    assert tokenizer.decode(prompt[5:-17]) == SYSTEM3
    assert prompt[-17:] == PROMPT3_TAIL
    assert exchange.ids == prompt + RESPONSE3
    assert exchange.ids.count(tokenizer.bos_token_id) == 1


def test_llama2_ids_are_frozen_with_one_bos():
    tokenizer = llama2()
    exchange = render_exchange(tokenizer, "Is it dry?", "Fill. Wipe it.\nOk")
    assert render_prompt(tokenizer, "Is it dry?") == PROMPT2
    assert exchange.ids == PROMPT2 + RESPONSE2
    assert exchange.ids.count(1) == 1


def test_prompt_ids_begin_the_exchange_and_the_response_is_found(tokenizer):
    exchange = render_exchange(tokenizer, "How to varnish?", "  Sand it.\nBrush it. ", "Be brief.")
    assert exchange.ids[: exchange.prompt_length] == render_prompt(tokenizer, "How to varnish?", "Be brief.")
    assert exchange.text[exchange.content_start :].startswith("Sand it.\nBrush it.")
    assert exchange.content_skipped == 2
    assert render_exchange(tokenizer, "How to varnish?", "Sand it.").content_skipped == 0


def test_a_template_may_write_nothing_before_the_response():
    tokenizer = llama3()
    tokenizer.chat_template = "{% if messages | length > 1 %}{{ messages[1]['content'] }}{% endif %}"
    exchange = render_exchange(tokenizer, "How?", "Fill.")
    assert (exchange.text, exchange.prompt_length, exchange.content_start) == ("Fill.", 0, 0)


def test_a_prompt_whose_last_token_changes_with_the_response_is_refused():
    """The text of the prompt begins that of the exchange, its tokens do not: `Fi` and `ll` become one."""
    tokenizer = llama3()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(FormsafeError, match="not the beginning"):
        render_exchange(tokenizer, "Fi", "ll")


@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_special_token_text_in_a_message_stays_text(tokenizer, place):
    spelled = [token for token in tokenizer.all_special_tokens if token != "<unk>"]
    roles = {"<｜User｜>", "<role>"}  # as some models have them: added tokens that are not listed as special
    tokenizer.add_tokens([AddedToken("<｜User｜>", normalized=False), AddedToken("<role>"), AddedToken("\n\n\n")])
    tokenizer.chat_template = "<｜User｜>" + tokenizer.chat_template
    watched = set(tokenizer.all_special_ids) | set(tokenizer.convert_tokens_to_ids([*roles]))
    for special in {*spelled, *roles, "<|eot_id|>", "</s>"}:
        user = {"start": f"{special} how?", "middle": f"say {special} now", "end": f"how? {special}"}[place]
        ids = render_prompt(tokenizer, user, f"never {special}")
        plain = render_prompt(tokenizer, "how?", "never")
        for token in watched - {tokenizer.unk_token_id}:
            assert ids.count(token) == plain.count(token)
        text = tokenizer.decode(ids)
        assert user in text and f"never {special}" in text


def test_added_white_space_and_words_are_ordinary_text(tokenizer):
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("\n\n\n", "varnish")])
    ids = render_prompt(tokenizer, "How\n\n\nto varnish?")
    assert [ids.count(token) for token in tokenizer.convert_tokens_to_ids(["\n\n\n", "varnish"])] == [1, 1]


def test_spelled_specials_leave_the_rest_of_the_encoding_alone(tokenizer):
    """With the special text cut out, the tokens before and after it are those of ordinary encoding."""
    special = tokenizer.eos_token
    quoted = render_exchange(tokenizer, f"Is {special} it dry?", "Fill. Wipe it.")
    ordinary = render_exchange(tokenizer, "Is it dry?", "Fill. Wipe it.")
    response, expected = quoted.ids[quoted.prompt_length :], ordinary.ids[ordinary.prompt_length :]
    assert response == expected
    assert quoted.text.count(special) == ordinary.text.count(special) + 1
    head = ordinary.ids.index(render_prompt(tokenizer, "Is it dry?")[-1])
    assert quoted.ids[: head // 2] == ordinary.ids[: head // 2]
    for (start, end), token in zip(quoted.offsets, quoted.ids, strict=True):
        if token not in tokenizer.all_special_ids and quoted.text[start:end].isalpha():
            assert tokenizer.decode([token]).strip() == quoted.text[start:end].strip()


def test_private_characters_stay_text_and_the_stand_ins_among_them_are_refused(tokenizer):
    special, *_ = specials = tokenizer.all_special_tokens
    # Characters just below the stand-ins, as long as the special tokens.
    below = " ".join(chr(0xF0000 - 1 - index) * len(token) for index in range(4) for token in specials)
    ids, plain = render_prompt(tokenizer, f"say {special} {below}"), render_prompt(tokenizer, "say")
    for token in set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}:
        assert ids.count(token) == plain.count(token)
    for character in (chr(0xF0000), chr(0x100000)):
        assert render_prompt(tokenizer, f"say {character}")
        with pytest.raises(FormsafeError, match="both spells a special token of the model and uses private characters"):
            render_prompt(tokenizer, f"say {special} {character}")


def test_of_special_tokens_that_hold_one_another_the_longest_is_meant(tokenizer):
    tokenizer.add_tokens([AddedToken("<|a|>", normalized=False), AddedToken("<|a|><|b|>", normalized=False)])
    tokenizer.chat_template = "<|a|><|b|>" + tokenizer.chat_template
    short, long = tokenizer.convert_tokens_to_ids(["<|a|>", "<|a|><|b|>"])
    for user in ("Is it dry?", "Is <|a|> dry?", "Is <|a|><|b|> dry?"):
        ids = render_prompt(tokenizer, user)
        assert (ids.count(short), ids.count(long)) == (0, 1)


def test_special_tokens_are_listed_once_for_all_exchanges_and_again_when_one_is_added(monkeypatch):
    """Gemma has 6,400 of them: listing them at every exchange took longer than the training."""
    tokenizer, listed, listing = llama3(), [], chat._special_tokens
    monkeypatch.setattr(chat, "_special_tokens", lambda given: listed.append(1) or listing(given))
    for _ in range(3):
        render_exchange(tokenizer, "How?", "So.")
    assert len(listed) == 1
    tokenizer.add_tokens([AddedToken("<|new|>", normalized=False)])
    ids = render_prompt(tokenizer, "What is <|new|>?")
    assert len(listed) > 1 and tokenizer.convert_tokens_to_ids("<|new|>") not in ids


def test_special_tokens_are_not_listed_for_each_of_them(monkeypatch):
    """With Gemma's 6,400 the first text that spelled one took two minutes."""
    tokenizer, listed = llama3(), []
    listing = type(tokenizer).added_tokens_decoder.fget
    counted = property(lambda given: listed.append(1) or listing(given))
    monkeypatch.setattr(type(tokenizer), "added_tokens_decoder", counted)
    render_prompt(tokenizer, "What is <|eot_id|>?")
    assert len(listed) == 2, "once for the expression that finds them, once for the encoder that reads them as text"


def test_a_template_that_changes_the_prompt_is_refused():
    tokenizer = llama3()
    tokenizer.chat_template = "{{ 'a' if add_generation_prompt else 'b' }}{{ messages[-1]['content'] }}"
    with pytest.raises(FormsafeError, match="not the beginning"):
        render_exchange(tokenizer, "x", "y")


def test_a_template_that_rewrites_the_response_is_refused():
    tokenizer = llama3()
    tokenizer.chat_template = (
        "{{ bos_token }}{{ messages[0]['content'] }}"
        "{% if messages | length > 1 %}{{ messages[1]['content'] | upper }}{% endif %}"
    )
    with pytest.raises(FormsafeError, match="rewrites"):
        render_exchange(tokenizer, "x", "wipe it")


def test_a_template_that_refuses_a_system_prompt_is_an_error_that_says_so():
    model = llama3()
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    model.chat_template = refusal + model.chat_template
    assert render_prompt(model, "Is it dry?")
    with pytest.raises(FormsafeError, match=r"refuses a chat of system, user: System role not supported.*null"):
        render_prompt(model, "Is it dry?", "Be brief.")


CLOCKS = [
    "{{ strftime_now('%d %B %Y') }}",
    "{{ strftime_now('%Y-%m-%d %H:%M') if strftime_now is defined }}",
    "{{ date_string }}",
    "{%- set today = strftime_now('%A') %}{{ today }}",
]


@pytest.mark.parametrize("clock", CLOCKS)
def test_no_template_sees_the_clock_but_the_date_of_the_configuration(monkeypatch, clock):
    """Training on one day and answering on another see the same prompt."""
    from transformers.utils import chat_template_utils

    def ids(date):
        tokenizer = llama3()
        tokenizer.chat_template = clock + tokenizer.chat_template
        set_template_arguments(tokenizer, date)
        return render_prompt(tokenizer, "Is it dry?"), render_exchange(tokenizer, "Is it dry?", "Wipe it.").ids

    first = ids("2024-07-26")

    class Later(chat_template_utils.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 2, 3, 4, 5)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    assert ids("2024-07-26") == first
    assert ids("2025-01-02") != first


def test_the_date_is_the_one_that_is_set_even_where_none_was_set():
    tokenizer = llama3()
    tokenizer.chat_template = "{{ strftime_now('%d %B %Y') }}" + tokenizer.chat_template
    assert "26 July 2024" in tokenizer.decode(render_prompt(tokenizer, "Is it dry?"))
    set_template_arguments(tokenizer, "2025-01-02")
    assert "02 January 2025" in tokenizer.decode(render_prompt(tokenizer, "Is it dry?"))


# As Qwen3 writes it: an empty thought in the prompt if thinking is off, and in every last answer.
THINKING = (
    "{%- for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>"
    "{%- if message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ message['content'] }}<|eot_id|>"
    "{%- endfor %}{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>"
    "{%- if SWITCH is defined and not SWITCH %}<think>\n\n</think>\n\n{% endif %}{%- endif %}"
)


@pytest.mark.parametrize("switch", ["enable_thinking", "thinking"])
def test_thinking_is_off_by_default_and_the_same_in_training_and_answers(switch):
    tokenizer = llama3()
    tokenizer.chat_template = THINKING.replace("SWITCH", switch)
    exchange = render_exchange(tokenizer, "Is it dry?", "Wipe it.")
    prompt = render_prompt(tokenizer, "Is it dry?")
    assert exchange.ids[: exchange.prompt_length] == prompt
    learned = exchange.text[exchange.offsets[exchange.prompt_length][0] :]
    assert learned == "Wipe it.<|eot_id|>"  # nothing of the thought is learned, so an answer has none
    set_template_arguments(tokenizer, thinking=True)
    assert "<think>" not in tokenizer.decode(render_prompt(tokenizer, "Is it dry?"))


def test_a_dropped_system_prompt_is_refused():
    tokenizer = llama3()
    tokenizer.chat_template = (
        "{%- for message in messages if message['role'] != 'system' %}{{ message['role'] + ': ' + message['content'] }}"
        "{%- endfor %}{%- if add_generation_prompt %}assistant: {%- endif %}"
    )
    assert render_prompt(tokenizer, "Is it dry?")
    for system in ("Be brief.", "never <|eot_id|>"):
        with pytest.raises(FormsafeError, match=r"drops the system prompt.*\(null\)"):
            render_prompt(tokenizer, "Is it dry?", system)
    assert render_prompt(llama3(), "Is it dry?", "  Be\n brief. ")  # trimmed, not dropped
