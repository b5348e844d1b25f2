"""Replies: what is one, what a stage says of many, and how much room one needs."""

import hashlib
import json
from types import SimpleNamespace

import pytest

from formsafe.config.settings.generation import Decoding
from formsafe.core.errors import FormsafeError
from formsafe.generation.journal import Journal
from formsafe.generation.replies import Prompt, Reply, generation_figures, prompts_digest, require_room

REPLY = Reply("3", 1, "stop", ((1, (0.0, 0.0, 1.0, 0.0, 0.0)),), "Hm")


def test_a_reply_is_rebuilt_from_its_record_as_json():
    assert Reply.of(json.loads(json.dumps(REPLY.record()))) == REPLY
    assert Reply.of({"text": "", "tokens": None, "finish_reason": "refused", "digits": []}).tokens is None


@pytest.mark.parametrize(
    "change",
    [
        *({"finish_reason": "ended"}, {"tokens": "1"}, {"text": None}, {"text": ["so it wrote"]}, {"thoughts": None}),
        *({"thoughts": 1}, {"digits": None}, {"digits": [1]}, {"digits": [[1, ["x"]]]}, {"more": 1}),
    ],
)
def test_what_is_no_reply_is_an_error(change):
    with pytest.raises(ValueError) as error:
        Reply.of(REPLY.record() | change)
    assert "wrote" not in str(error.value), "a text of a model is no part of an error"


def figures(folder, *replies, seconds=0.0):
    engine = SimpleNamespace(describe=lambda: {"engine": "e"}, record=lambda journal: {"how": "h"})
    journal = Journal(folder / "j", {})
    if seconds:
        journal.add("s", {}, tokens=0, seconds=seconds)
    return generation_figures(engine, journal, list(replies))


def test_the_figures_of_a_stage(tmp_path):
    cut, refused = Reply("a", 7, "length"), Reply("", 0, "refused")
    found = figures(tmp_path, cut, cut, refused, REPLY, seconds=7.12345)
    assert (found["replies"], found["tokens"], found["generation_seconds"]) == (4, 15, 7.123)
    assert found["tokens_per_second"] == 2.1  # 15 / 7.12345 is 2.106
    assert (found["cut_off_share"], found["refused_by_service"]) == (0.5, 1)
    assert (found["engine"], found["how"], found["continued"]) == ("e", "h", 0)


def test_the_figures_of_one_reply_and_of_none(tmp_path):
    assert figures(tmp_path, Reply("a", 7, "length"))["cut_off_share"] == 1.0
    none = figures(tmp_path)
    assert (none["replies"], none["tokens"], none["cut_off_share"], none["tokens_per_second"]) == (0, 0, 0.0, None)


def test_a_digest_is_of_ascii_whatever_the_texts():
    lines = b'["a", "\\u00e9", null]\n["b", "How?", "Be kind.", "So."]\n'
    prompts = [Prompt("a", "é"), Prompt("b", "How?", "Be kind.", "So.")]
    assert prompts_digest(prompts) == hashlib.sha256(lines).hexdigest()


def test_digests_tell_parts_apart():
    one, other, three = [Prompt("ab", "c")], [Prompt("a", "bc")], [Prompt("a", "b", "c")]
    assert len({prompts_digest(prompts) for prompts in (one, other, three, one + other, other + one)}) == 5


def test_a_conversations_digest_holds_the_answer():
    plain, judged = Prompt("a", "How?"), Prompt("a", "How?", assistant="So.")
    assert len({prompts_digest([each]) for each in (plain, judged, Prompt("a", "How?", assistant="No."))}) == 3


@pytest.mark.parametrize(("room", "enough"), [(9, True), (8, True), (7, False), (-3, False)])
def test_room_for_just_one_reply_is_enough(room, enough):
    engine = SimpleNamespace(room=lambda prompt: room)
    if enough:
        return require_room(engine, [Prompt("a", "How?")], Decoding(max_new_tokens=8))
    with pytest.raises(FormsafeError, match=rf"Prompt a leaves {max(0, room)} tokens .* max_new_tokens is 8"):
        require_room(engine, [Prompt("a", "How?")], Decoding(max_new_tokens=8))
