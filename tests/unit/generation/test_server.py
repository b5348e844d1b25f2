"""The server engine against a server on loopback that fails in every way we could think of."""

import asyncio
import json
import socket
import threading

import pytest
from pydantic import ValidationError

from formsafe.config.messages import field_problems
from formsafe.config.settings.base import restored
from formsafe.config.settings.generation import Decoding, GenerationSettings, ServerSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.generation.dialects import fault_of, read_reply
from formsafe.generation.engines import make_engine
from formsafe.generation.journal import Journal
from formsafe.generation.replies import Prompt, Reply, ask, generation_figures
from formsafe.generation.server import ServerEngine
from formsafe.generation.server_client import disarm
from tests.faulty_server import FaultyServer, completion, serving
from tests.injections import INJECTIONS
from tests.talkative import prompts

PROMPTS = [Prompt(f"p-{n}", text) for n, text in enumerate(prompts(24))]
GREEDY = Decoding(max_new_tokens=32)
GREEDY_ALONE = GenerationSettings(max_new_tokens=32)
EXPECTED = [Reply(f"You asked: {prompt.text}", 7, "stop") for prompt in PROMPTS]


def engine(server, **changes):
    url = server if isinstance(server, str) else server.url
    plain = {"base_url": url, "model": "m", "concurrency": 4, "timeout_seconds": 60.0, "attempts": 4}
    return ServerEngine(ServerSettings(**{**plain, **changes}), backoff_seconds=0.005)


def answers(made, tmp_path, asked=PROMPTS, decoding=GREEDY):
    journal = Journal(tmp_path / "journal", made.describe())
    try:
        return ask(made, asked, decoding, journal, "s")
    finally:
        journal.close()


def test_replies_come_in_order_with_bounded_concurrency(tmp_path):
    with serving(FaultyServer(lambda number, body: ("wait", 0.02 * (number % 3)))) as server:
        assert answers(engine(server), tmp_path) == EXPECTED
    assert 1 < server.most_under_way <= 4 and len(server.bodies) == len(PROMPTS)


BODIES = [
    "not json",
    "[]",
    '{"choices": []}',
    '{"choices": [{"message": null}]}',
    '{"choices": [{"message": {"content": [1]}}]}',
]


@pytest.mark.parametrize(
    "fault", [500, 502, 503, 504, 429, 408, ("later", "0"), "drop", *(("text", body) for body in BODIES)]
)
def test_every_fault_that_passes_is_outlived(tmp_path, fault):
    some = PROMPTS[:6]
    with serving(FaultyServer(lambda number, body: fault if number in (1, 2, 5) else None)) as server:
        assert answers(engine(server), tmp_path, some) == EXPECTED[:6]
    assert len(server.bodies) == len(some) + 3


def test_a_reply_that_does_not_come_is_asked_for_again(tmp_path, capfd):
    late = threading.Event()
    with serving(FaultyServer(lambda number, body: late.wait(60) and None if number in (1, 2) else None)) as server:
        assert answers(engine(server, timeout_seconds=0.4, attempts=20), tmp_path, PROMPTS[:3]) == EXPECTED[:3]
        late.set()
    assert len(server.bodies) >= 3 + 2 and "no answer within 0.4 s" in capfd.readouterr().out


@pytest.mark.parametrize("fault", [500, "drop"])
def test_a_fault_that_stays_is_an_error_and_nothing_is_lost(tmp_path, fault, capfd):
    cursed = PROMPTS[5].text
    with serving(
        FaultyServer(lambda number, body: fault if body["messages"][-1]["content"] == cursed else None)
    ) as server:
        with pytest.raises(FormsafeError, match=r"failed prompt p-5 4 times.*replies so far are kept"):
            answers(engine(server), tmp_path)
        assert sum(body["messages"][-1]["content"] == cursed for body in server.bodies) == 4
        server.fault = lambda number, body: None
        finished = len(Journal(tmp_path / "journal", engine(server).describe()).replies("s"))
        asked_before = len(server.bodies)
        assert answers(engine(server), tmp_path) == EXPECTED
    assert len(server.bodies) - asked_before == len(PROMPTS) - finished < len(PROMPTS)
    seen = capfd.readouterr()
    assert "p-5" in seen.out and cursed not in seen.out + seen.err


def test_a_server_that_dies_half_way_is_continued_by_the_next(tmp_path):
    with serving(FaultyServer(lambda number, body: "die" if number == 12 else None)) as server:
        with pytest.raises(FormsafeError, match="connection failed"):
            answers(engine(server), tmp_path)
        kept = Journal(tmp_path / "journal", engine(server).describe()).replies("s")
    assert 8 <= len(kept) < len(PROMPTS)
    with serving(FaultyServer()) as second:  # elsewhere, and asked with more patience
        made = engine(second, timeout_seconds=120.0, attempts=2, concurrency=2)
        assert answers(made, tmp_path) == EXPECTED
    assert len(second.bodies) == len(PROMPTS) - len(kept)


@pytest.mark.parametrize(
    ("asked", "least"), [("0", 0), ("nan", 0), ("inf", 0), ("-5", 0), ("soon", 0), ("7", 7), ("999", 60)]
)
def test_a_server_can_ask_for_more_patience_and_never_for_less(tmp_path, monkeypatch, asked, least):
    waits = []

    async def sleep(seconds, own=asyncio.sleep):
        waits.append(seconds)
        await own(0)

    with serving(FaultyServer(lambda number, body: ("later", asked))) as server:
        monkeypatch.setattr("formsafe.generation.server.asyncio.sleep", sleep)
        patience = 4.5 * max(0.02, least) / 60
        with pytest.raises(FormsafeError, match=r"status 429.*`concurrency` or raise `patience_minutes`"):
            answers(engine(server, attempts=1, patience_minutes=patience), tmp_path, PROMPTS[:1])
    waits = [seconds for seconds in waits if seconds]
    assert 4 <= len(waits) <= 6
    own = 0.005
    for wait in waits:
        assert max(min(own, 60), least) <= wait <= 1.25 * max(0.04, least, own)
    assert len(set(waits)) == len(waits)  # with jitter


def test_a_storm_of_refusals_slows_all_requests_down_and_is_outlived(tmp_path, monkeypatch):
    """A bucket of three requests that refills with each pause: sixteen workers at once get through all the same."""
    left = [3]

    async def sleep(seconds, own=asyncio.sleep):
        left[0] = 3
        await own(0)

    def bucket(number, body):
        left[0] -= 1
        return None if left[0] >= 0 else 429

    monkeypatch.setattr("formsafe.generation.server.asyncio.sleep", sleep)
    with serving(FaultyServer(bucket)) as server:
        made = engine(server, concurrency=16, attempts=9, patience_minutes=1.0)
        assert answers(made, tmp_path) == EXPECTED
    assert len(server.bodies) < 6 * len(PROMPTS)


def test_a_quota_that_is_used_up_is_an_error_at_once(tmp_path):
    said = ("refuse", 429, json.dumps({"error": {"code": "insufficient_quota", "message": "x"}}))
    with (
        serving(FaultyServer(lambda number, body: said)) as server,
        pytest.raises(FormsafeError, match=r"status 429 .*insufficient_quota"),
    ):
        answers(engine(server, concurrency=1), tmp_path)
    assert len(server.bodies) == 1


def test_an_endless_reply_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("formsafe.generation.server_client.MOST_BYTES", 1000)
    long = ("text", completion("x" * 5000))
    with (
        serving(FaultyServer(lambda number, body: long)) as server,
        pytest.raises(FormsafeError, match="connection failed"),
    ):
        answers(engine(server, attempts=2), tmp_path, PROMPTS[:1])


def test_no_key_of_the_environment_goes_to_another_server(tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "very-secret")
    with serving(FaultyServer()) as server:
        answers(engine(server), tmp_path, PROMPTS[:1])
    assert "very-secret" not in str(server.headers)


@pytest.mark.parametrize(
    "pasted",
    [
        *("sk-proj-abcdefghij0123456789", "sk_live_abcdefghij0123456789", "hf_AbCdEfGhIjKlMnOpQr0123", "two words"),
        *("gsk_abcdefghijklmnop0123456789", "AIzaSyA0123456789abcdefghijk", "0123456789abcdef0123456789abcdef"),
        *("Bearer abc", "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6", ""),
    ],
)
def test_a_key_in_place_of_its_variable_is_refused_and_not_printed(pasted):
    raw = {"server": {"base_url": "http://h/v1", "model": "m", "key_variable": pasted}}
    with pytest.raises(ValidationError) as error:
        GenerationSettings(**raw)
    (problem,) = field_problems(raw, error.value)
    assert "not a key" in problem and (not pasted or pasted not in problem)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "FORMSAFE_TEST_KEY", "my_key", "KEY2", None])
def test_the_name_of_a_variable_is_taken(name):
    assert ServerSettings(base_url="http://h/v1", model="m", key_variable=name).key_variable == name


def test_no_server_at_all(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(FormsafeError, match=rf"{address}.*See whether it runs"):
        answers(engine(address), tmp_path)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refused_request_is_not_repeated(tmp_path, status):
    with (
        serving(FaultyServer(lambda number, body: status)) as server,
        pytest.raises(FormsafeError, match=f"status {status}"),
    ):
        answers(engine(server, concurrency=1), tmp_path)
    assert len(server.bodies) == 1


def test_the_key_is_sent_and_told_to_nobody(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FORMSAFE_TEST_KEY", "sk-very-secret")
    faults = {1: 500, 3: 429, 6: 401}
    with (
        serving(FaultyServer(lambda number, body: faults.get(number))) as server,
        pytest.raises(FormsafeError) as error,
    ):
        answers(engine(server, key_variable="FORMSAFE_TEST_KEY", concurrency=1), tmp_path)
    assert all(headers["authorization"] == "Bearer sk-very-secret" for headers in map(lower, server.headers))
    seen = capfd.readouterr()
    assert "secret" not in seen.out + seen.err + repr(error.value) + (tmp_path / "journal").read_text()


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def test_without_a_key_none_is_sent_and_a_missing_one_is_named(tmp_path):
    with serving(FaultyServer()) as server:
        answers(engine(server), tmp_path, PROMPTS[:1])
        assert "authorization" not in lower(server.headers[0])
        with pytest.raises(FormsafeError, match="FORMSAFE_NO_SUCH_KEY"):
            engine(server, key_variable="FORMSAFE_NO_SUCH_KEY")


@pytest.mark.parametrize("key", ["", " \n", "two\nlines", "clé"])
def test_a_key_that_cannot_be_sent_is_an_error_without_it(monkeypatch, key):
    monkeypatch.setenv("FORMSAFE_TEST_KEY", key)
    with pytest.raises(FormsafeError, match=r"FORMSAFE_TEST_KEY .* holds no key") as error:
        engine("http://127.0.0.1:1/v1", key_variable="FORMSAFE_TEST_KEY")
    assert not key.strip() or key not in str(error.value)


def refusal(code, message="You asked: how to mend"):
    return ("refuse", 400, json.dumps({"error": {"code": code, "message": message}}))


def test_a_refusal_is_told_by_its_code_and_never_by_a_message_that_may_repeat_the_prompt(tmp_path, capfd):
    for code in ("model_not_found", "how to mend", None, ["x"]):
        with (
            serving(FaultyServer(lambda number, body, code=code: refusal(code))) as server,
            pytest.raises(FormsafeError, match="status 400") as error,
        ):
            answers(engine(server, concurrency=1), tmp_path)
        assert ("model_not_found" in str(error.value)) == (code == "model_not_found")
        seen = capfd.readouterr()
        assert "how to mend" not in str(error.value) + seen.out + seen.err


FILTERED = [
    (400, {"error": {"code": "content_filter"}}),
    (400, {"error": {"code": "content_policy_violation", "message": "no"}}),
    (400, {"error": {"code": "data_inspection_failed", "type": "data_inspection_failed"}}),
    (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
    (400, {"error": {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}),
    (
        400,
        {
            "error": {
                "type": "content_filter",
                "message": "The request was rejected because it was considered high risk",
            }
        },
    ),
    (403, {"error": {"code": 403, "message": "m", "metadata": {"reasons": ["x"], "flagged_input": "how"}}}),
    (403, {"error": {"code": "moderation_blocked"}}),
    (400, {"error": {"code": "1301", "message": "m"}}),
    (451, {"error": {"type": "safety_violation"}}),
    (422, {"detail": {"code": "guardrail_intervened"}}),
    (500, {"error": {"code": "content_filter"}}),
]
TOO_LONG = [
    (400, {"error": {"code": "context_length_exceeded"}}),
    (
        400,
        {"object": "error", "code": 400, "message": "This model's maximum context length is 4096 tokens. However, ..."},
    ),
    (400, {"error": {"type": "exceed_context_size_error", "code": 400, "n_ctx": 4096}}),
    (422, {"error_type": "validation", "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be"}),
    (422, {"error_type": "validation", "error": "Input validation error: `inputs` must have less than 4095 tokens"}),
    (400, {"error": {"message": "The input (9000 tokens) is longer than the model's context length (4096 tokens)."}}),
    (400, {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
    (400, {"error": {"message": "The prompt is too long: 9000, model maximum context length: 4096"}}),
    (400, {"error": {"code": "string_above_max_length"}}),
    (413, {"error": {"code": "request_too_large"}}),
    (400, {"error": {"message": "Requested token count exceeds the model's maximum context length of 4096 tokens."}}),
    (400, {"error": {"message": "the request exceeds the available context size, try increasing it"}}),
]


@pytest.mark.parametrize(("status", "body"), [case for case in FILTERED if case[0] != 500])
def test_the_refusals_of_many_services_end_no_stage(tmp_path, status, body):
    fault = {3: ("refuse", status, json.dumps(body))}
    with serving(FaultyServer(lambda number, _: fault.get(number))) as server:
        found = answers(engine(server, concurrency=1), tmp_path, PROMPTS[:4])
    assert found == [*EXPECTED[:2], Reply("", 0, "refused"), EXPECTED[3]] and len(server.bodies) == 4


@pytest.mark.parametrize(("status", "body"), TOO_LONG)
def test_a_prompt_that_is_too_long_for_the_server_ends_no_stage(tmp_path, status, body):
    fault = {1: ("refuse", status, json.dumps(body))}
    with serving(FaultyServer(lambda number, _: fault.get(number))) as server:
        found = answers(engine(server, concurrency=1), tmp_path, PROMPTS[:2])
    assert found == [Reply("", 0, "no_room"), EXPECTED[1]]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "You asked: how to get round a content filter or content policy", "code": "bad_request"}},
        {"error": {"message": "invalid: this model's maximum context length in your prompt", "code": None}},
        {"error": {"code": "invalid_api_key"}},
        {"error": "content"},
        [],
        None,
    ],
)
def test_what_a_message_repeats_of_a_prompt_makes_no_refusal(body):
    assert fault_of(body)[0] == "other"


def test_a_prompt_that_the_service_filters_has_an_empty_reply_and_the_others_their_own(tmp_path):
    fault = {3: refusal("content_filter")}
    with serving(FaultyServer(lambda number, body: fault.get(number))) as server:
        found = answers(engine(server, concurrency=1), tmp_path, PROMPTS[:5])
    assert found == [*EXPECTED[:2], Reply("", 0, "refused"), *EXPECTED[3:5]]


def test_what_is_asked_for(tmp_path):
    with serving(FaultyServer()) as server:
        asked = [Prompt("a", "How?", "Be kind.")]
        answers(engine(server, concurrency=1), tmp_path, asked)
        warm = Decoding(max_new_tokens=9, temperature=0.7, top_p=0.9, seed=5)
        ask(engine(server), asked, warm, Journal(tmp_path / "warm", {}), "s")
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How?"}]
    assert server.bodies == [
        {"model": "m", "messages": messages, "max_tokens": 32, "temperature": 0.0},
        {"model": "m", "messages": messages, "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "seed": 5},
    ]


def test_fields_of_a_request_are_added_replaced_and_left_out(tmp_path):
    extra = {"max_tokens": None, "max_completion_tokens": 64, "temperature": 1.0, "chat_template_kwargs": {"think": 0}}
    with serving(FaultyServer()) as server:
        made = engine(server, extra_body=extra)
        answers(made, tmp_path, [Prompt("a", "How?")])
    messages = [{"role": "user", "content": "How?"}]
    given = {key: value for key, value in extra.items() if value is not None}
    assert server.bodies == [{"model": "m", "messages": messages, **given}]


def test_settings_without_their_delivery_say_what_is_asked_for_and_get_it_back():
    kept, delivery = {"model": "m", "extra_body": {"a": 1}}, {"base_url": "http://h/v1", "timeout_seconds": 9.0}
    made = GenerationSettings(server=ServerSettings(**kept, **delivery))
    assert made.model_dump()["server"] == kept
    assert restored(GenerationSettings, made.model_dump(), {"server": {**delivery, "model": "other"}}) == made
    assert restored(GenerationSettings, GREEDY_ALONE.model_dump(), {}) == GREEDY_ALONE


def test_a_server_that_counts_no_tokens_has_no_speed(tmp_path):
    silent = json.dumps({"choices": [{"message": {"content": "no usage"}}]})
    told = {}
    for name, fault in (("silent", ("text", silent)), ("telling", None)):
        with serving(FaultyServer(lambda number, body, fault=fault: fault)) as server:
            made, journal = engine(server), Journal(tmp_path / name, {})
            told[name] = generation_figures(made, journal, ask(made, PROMPTS[:3], GREEDY, journal, "s"))
    assert (told["silent"]["tokens"], told["silent"]["tokens_per_second"]) == (None, None)
    assert told["telling"]["tokens"] == 21 and told["telling"]["tokens_per_second"] > 0
    assert told["telling"]["server_model"] == "m" and "batches" not in told["telling"]


def shaped(message, finish="stop"):
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], "usage": None})


@pytest.mark.parametrize(
    ("message", "text", "thoughts"),
    [
        ({"role": "assistant"}, "", ""),
        ({"content": None}, "", ""),
        ({"content": [{"type": "text", "text": "One "}, {"type": "text", "text": "two."}]}, "One two.", ""),
        ({"content": ["One ", "two."]}, "One two.", ""),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"text": "No."}]},
            "No.",
            "Hm",
        ),
        ({"content": [{"type": "reasoning", "text": "Hm"}, {"type": "output_text", "text": "No."}]}, "No.", "Hm"),
        ({"content": "No.", "reasoning_content": "Hm"}, "No.", "Hm"),
        ({"content": "No.", "reasoning": "Hm", "reasoning_content": None}, "No.", "Hm"),
        ({"content": "No.", "thinking": "Hm"}, "No.", "Hm"),
        ({"reasoning_content": "Hm"}, "", "Hm"),
        ({"content": [{"type": "image_url"}, {"type": "text", "text": "No."}]}, "No.", ""),
    ],
)
def test_messages_of_other_shapes(message, text, thoughts):
    assert read_reply(json.loads(shaped(message))) == Reply(text, None, "stop", (), thoughts)


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        *((name, "stop") for name in ("stop", "eos_token", "end_turn", "stop_sequence", "STOP", "COMPLETE", None, "")),
        *((name, "length") for name in ("length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens")),
        *((name, "length") for name in ("model_context_window_exceeded", "token_limit", "something_new")),
        *((name, "refused") for name in ("content_filter", "SAFETY", "sensitive", "refusal", "PROHIBITED_CONTENT")),
    ],
)
def test_finish_reasons_of_other_servers(finish, expected):
    assert read_reply(json.loads(shaped({"content": "#thescore: 4"}, finish))).finish_reason == expected


@pytest.mark.parametrize("finish", ["error", "abort", "network_error", "insufficient_system_resource"])
def test_a_reply_that_broke_off_is_asked_for_again(tmp_path, finish):
    broken = ("text", shaped({"content": "#thescore: 5"}, finish))
    with serving(FaultyServer(lambda number, body: broken if number == 1 else None)) as server:
        assert answers(engine(server), tmp_path, PROMPTS[:1]) == EXPECTED[:1]


@pytest.mark.parametrize("error", [{"code": 502, "message": "m"}, "overloaded", {"code": 429}])
def test_a_fault_under_status_200_is_one(tmp_path, error):
    fault = ("text", json.dumps({"error": error}))
    with serving(FaultyServer(lambda number, body: fault if number == 1 else None)) as server:
        assert answers(engine(server), tmp_path, PROMPTS[:1]) == EXPECTED[:1]


def refused(text, refusal=None):
    return json.dumps({"choices": [{"message": {"content": text, "refusal": refusal}}], "usage": None})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (refused(None, "That is not for me."), Reply("That is not for me.", None, "refused")),
        (refused("Sure.", None), Reply("Sure.", None, "stop")),
        (completion("half of", finish_reason="content_filter"), Reply("half of", 7, "refused")),
        (completion("cut", finish_reason="length"), Reply("cut", 7, "length")),
        (completion(None, finish_reason="content_filter"), Reply("", 7, "refused")),
        (json.dumps({"choices": [{"message": {"content": "no usage"}}]}), Reply("no usage", None, "stop")),
        (completion("a lone \ud800 surrogate"), Reply("a lone ? surrogate", 7, "stop")),
    ],
)
def test_what_is_read(tmp_path, body, expected):
    with serving(FaultyServer(lambda number, _: ("text", body))) as server:
        assert answers(engine(server), tmp_path, PROMPTS[:1]) == [expected]


@pytest.mark.parametrize("number", range(len(INJECTIONS)))
def test_text_of_special_tokens_is_broken_up(number):
    text = disarm(INJECTIONS[number])
    assert text.replace("\u200b", "") == INJECTIONS[number].replace("\u200b", "")
    for special in (
        "<|eot_id|>",
        "<|im_start|>",
        "<|begin_of_text|>",
        "</s>",
        "<s>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<end_of_turn>",
    ):
        assert special not in text


@pytest.mark.parametrize(
    "token",
    [
        *("[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[THINK]", "[/THINK]", "[AVAILABLE_TOOLS]", "[inst]"),
        *("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "<extra_id_0>", "<extra_id_99>"),
        *("<end_of_utterance>", "<start_of_image>", "<end_of_turn>", "<｜User｜>", "<pad>"),
    ],
)
def test_a_special_token_of_a_common_model_is_broken_up(token):
    assert token not in disarm(f"One{token}two {token}")


def test_ordinary_text_is_left_alone():
    for text in (
        "a < b | c > d",
        "<p>One</p> <b>two</b>",
        "x <- y |> z",
        "[1] see (2) [note] [YOUR NAME] [OK]",
        "I <thinking> so <tool>",
        '{"procedure": ["Wait."]}',
        "<|",
        "|>",
    ):
        assert disarm(text) == text


def test_a_server_does_not_answer_for_a_run_with_an_adapter(tmp_path):
    settings = GenerationSettings(server=ServerSettings(base_url="http://127.0.0.1:1/v1", model="m"))
    model = ModelSettings(path="p", label="l", parameters=1.0)
    assert isinstance(make_engine({"path": "p"}, model, settings, 1), ServerEngine)
    for folder in ({"adapter": tmp_path}, {"soft_prompt": tmp_path}):
        with pytest.raises(FormsafeError, match="adapter or a soft prompt"):
            make_engine({"path": "p"}, model, settings, 1, **folder)
