"""Random files, replies, cards and labels: errors that say what is wrong, no traceback and no raw control character."""

import copy
import json
import re

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from formsafe.config.loading import load_study
from formsafe.config.settings.data import DataSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import is_below, loads, read_json, read_jsonl
from formsafe.core.redaction import redact, redacted
from formsafe.core.texts import escape_csv, escape_markdown, is_one_line, one_line, printable
from formsafe.data.records import HarmfulPrompt, TrainingExample
from formsafe.generation.dialects import Incomplete, fault_of, read_reply
from formsafe.generation.journal import Journal
from formsafe.generation.replies import Reply
from formsafe.sources.data_card import check_card
from formsafe.sources.rows import read_source
from tests.conftest import ROOT

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
ANY_TEXT = st.text(st.characters(), max_size=60) | st.sampled_from(
    ["\x1b[2J", "\x9b1m", "\ud800", "a\rb", "=1", "../x"]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -1, 2**63, 1e308, float("nan"), float("inf")])
LEAVES = st.none() | st.booleans() | NUMBERS | ANY_TEXT
WORDS = [
    "id",
    "answer",
    "score",
    "choices",
    "message",
    "content",
    "usage",
    "completion_tokens",
    "finish_reason",
    "error",
]
KEYS = st.sampled_from([*WORDS, "section", "replies", "note", "seconds", "text", "tokens", "type", "code"]) | ANY_TEXT
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)


def fuzz(examples):
    """Enough cases, without a deadline: the machine may be busy."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, suppress_health_check=quiet, derandomize=True, database=None)


def as_json(value):
    """JSON as strangers write it: NaN, huge numbers and lone surrogates included."""
    return json.dumps(value).encode()


@fuzz(2000)
@given(ANY_TEXT)
def test_labels_are_harmless_in_every_output(text):
    line = one_line(text)
    assert is_one_line(line) and one_line(line) == line
    for shown in (line, printable(text), escape_markdown(text), str(FormsafeError(text)), printable(redact(text))):
        assert not CONTROL.search(shown) and shown.encode() is not None
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<>`]", escape_markdown(text))
    assert escape_csv(text).lstrip()[:1] not in ("=", "+", "@", "-")


@fuzz(500)
@given(st.binary(max_size=80) | JSON.map(as_json))
def test_json_is_read_or_refused(text):
    try:
        value = loads(text)
    except ValueError:
        return
    json.dumps(value, allow_nan=False)


@fuzz(500)
@given(st.lists(st.binary(max_size=40) | JSON.map(as_json), max_size=4))
def test_answers_and_scores_are_read_or_refused_by_file_and_line(tmp_path, lines):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"\n".join(lines))
    for read in (
        lambda: [row["answer"].strip() for row in read_jsonl(path, id=str, answer=str)],
        lambda: [row["score"] for row in read_jsonl(path, id=str, score=int | float | None)],
        lambda: HarmfulPrompt.read(path),
        lambda: TrainingExample.read(path),
        lambda: read_json(path),
    ):
        try:
            read()
        except FormsafeError as error:
            assert "answers.jsonl" in str(error) and not CONTROL.search(str(error))


@pytest.fixture
def quick_disk(monkeypatch):
    """No waiting for the disk at every line."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


REPLY = {"text": "x", "tokens": 1, "finish_reason": "stop", "digits": [], "thoughts": ""}
LINE = {"section": "harmful", "replies": {"a": REPLY}, "seconds": 1.0}


@fuzz(500)
@given(st.lists(st.binary(max_size=40) | JSON.map(as_json) | st.just(as_json(LINE)), max_size=4))
@example([as_json({**LINE, "seconds": 10**400})])
@example([as_json({**LINE, "replies": {"a": {**REPLY, "tokens": 10**400}}})])
def test_a_journal_is_continued_or_begun_again(tmp_path, quick_disk, lines):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"\n".join([as_json({"code": "c"}), *lines]) + b"\n")
    journal = Journal(path, {"code": "c"})
    for reply in journal.replies("harmful").values():
        try:
            Reply.of(reply)
        except ValueError:
            continue
    journal.add("another", {"b": REPLY}, seconds=1.0)
    json.dumps(journal.continued_seconds, allow_nan=False)
    journal.close()
    again = Journal(path, {"code": "c"})
    assert again.replies("another")["b"] == REPLY  # what was added after the damage is not lost
    again.remove()


@fuzz(700)
@given(JSON, JSON, JSON)
@example({"content": "x"}, 10**400, "stop")
def test_a_servers_reply_is_read_or_incomplete(message, tokens, reason):
    choice = {"message": message, "finish_reason": reason}
    for body in (message, {"choices": [choice], "usage": {"completion_tokens": tokens}}, {"error": message}):
        fault, code = fault_of(body)
        assert isinstance(fault, str) and not CONTROL.search(code)
        try:
            reply = read_reply(body)
        except Incomplete as error:
            assert not CONTROL.search(printable(str(error)))
            continue
        assert Reply.of(loads(json.dumps(reply.record()))) == reply


PAPER = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))


def places(value, way=()):
    """Every place in a nested configuration."""
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*way, key))


PLACES = [way for way in places(PAPER) if way]


@fuzz(500)
@given(st.sampled_from(PLACES), JSON, st.booleans())
def test_a_configuration_is_taken_or_refused(way, value, rename):
    raw = copy.deepcopy(PAPER)
    section = raw
    for key in way[:-1]:
        section = section[key]
    if rename and isinstance(section, dict):
        section[str(value)[:20]] = section.pop(way[-1])
    else:
        section[way[-1]] = value
    try:
        load_study(raw)
    except FormsafeError as error:
        assert not CONTROL.search(str(error))


PIECES = st.lists(
    st.sampled_from(
        ["..", ".", "data", "a.csv", "/", "~", "*", "**", "hf:", "zip:", "::", "//", "\\", "file://", "%2e%2e"]
    ),
    max_size=5,
).map("/".join)


@fuzz(500)
@given(
    st.one_of(PIECES, st.lists(PIECES, max_size=2), st.fixed_dictionaries({"split": ANY_TEXT, "path": PIECES}), JSON)
)
def test_a_data_card_is_refused_or_names_files_of_its_own(tmp_path, named):
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir(exist_ok=True)
    front = yaml.safe_dump({"configs": [{"config_name": "default", "data_files": named}]}, allow_unicode=True)
    (snapshot / "README.md").write_text(f"---\n{front}---\n", encoding="utf-8", errors="replace")
    try:
        check_card(snapshot, "owner/data")
    except FormsafeError as error:
        assert not CONTROL.search(str(error))
        return
    paths = named if isinstance(named, list) else [named.get("path") if isinstance(named, dict) else named]
    for path in (path for path in paths if isinstance(path, str) and path.strip("./") and path.isprintable()):
        assert "::" not in path and "://" not in path and is_below(snapshot / path, snapshot)


@fuzz(400)
@given(st.binary(max_size=200), st.sampled_from(["csv", "tsv", "jsonl", "json", "parquet", "csv.gz"]))
def test_a_data_file_is_read_or_refused_by_name(tmp_path, content, suffix):
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(content)
    try:
        read_source(DataSource(path=str(path)), "lock").describe()
    except FormsafeError as error:
        assert f"rows.{suffix}" in str(error) and not CONTROL.search(str(error))


@fuzz(200)
@given(JSON)
def test_redaction_keeps_the_shape(value):
    assert json.dumps(redacted(value)).encode()
    assert type(redacted(value)) is type(value) or isinstance(value, tuple)
