"""A journal gives back what was finished, whatever a kill left at its end, and nothing of other work."""

import json

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.generation.journal import Journal

HEADER = {"model": "a", "settings": {"temperature": 0.0}, "code": "1"}


def filled(path):
    journal = Journal(path, HEADER)
    journal.add("harmful", {"a": {"text": "x\u2028é"}, "b": {"text": "y"}}, tokens=3, seconds=0.5)
    journal.add_note("harmful", token_budget=64)
    journal.add("task", {"a": {"text": "z"}}, tokens=1, seconds=0.25)
    journal.close()
    return path.read_bytes()


def test_a_journal_is_continued_by_section(tmp_path):
    filled(tmp_path / "j")
    journal = Journal(tmp_path / "j", HEADER)
    assert (journal.continued, journal.continued_seconds) == (3, 0.75)
    assert journal.replies("harmful") == {"a": {"text": "x\u2028é"}, "b": {"text": "y"}}
    assert journal.replies("task") == {"a": {"text": "z"}}
    assert journal.replies("other") == {}
    assert journal.note("harmful") == {"token_budget": 64} and journal.note("task") == {}
    assert journal.batches == [
        {"section": "harmful", "tokens": 3, "seconds": 0.5, "rows": 2},
        {"section": "task", "tokens": 1, "seconds": 0.25, "rows": 1},
    ]


def test_cut_at_any_byte_it_holds_whole_lines_and_goes_on(tmp_path):
    whole = filled(tmp_path / "whole")
    lines = whole.splitlines(keepends=True)
    for cut in range(len(whole)):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        journal = Journal(path, HEADER)
        complete = whole[:cut].count(b"\n")
        expected = b"".join(lines[: max(1, complete)])
        assert path.read_bytes() == expected
        journal.add("new", {"n": {"text": "after"}}, tokens=1, seconds=0.0)
        journal.close()
        assert Journal(path, HEADER).replies("new") == {"n": {"text": "after"}}


@pytest.mark.parametrize("change", [{"model": "b"}, {"settings": {"temperature": 0.5}}, {"code": "2"}, {"more": 1}])
def test_a_journal_of_other_work_is_begun_anew(tmp_path, change, capfd):
    filled(tmp_path / "j")
    journal = Journal(tmp_path / "j", HEADER | change)
    assert journal.continued == 0 and journal.replies("harmful") == {} and journal.batches == []
    assert (tmp_path / "j").read_bytes() == json.dumps(HEADER | change).encode() + b"\n"
    assert "other work" in capfd.readouterr().out


def test_garbage_is_begun_anew(tmp_path):
    (tmp_path / "j").write_bytes(b"\x00\xff\n[1]\n")
    assert Journal(tmp_path / "j", HEADER).continued == 0


def test_any_seconds_below_thirty_years_are_whole(tmp_path):
    journal = Journal(tmp_path / "new" / "folder" / "j", HEADER)
    journal.add("s", {"a": {}}, tokens=0, seconds=0)
    journal.add("s", {"b": {}}, tokens=0, seconds=999_999_999.5)
    journal.close()
    assert Journal(journal.path, HEADER).continued == 2


WHOLE = {"section": "s", "replies": {"b": {}}, "seconds": 1.0, "tokens": 0}


@pytest.mark.parametrize(
    "change",
    [
        *({"replies": 1}, {"replies": []}, {"replies": {"b": 1}}, {"replies": None}, {"section": 1}, {"note": 1}),
        *({"seconds": seconds} for seconds in (None, "1", -1, 1e9, [])),
    ],
)
def test_from_a_malformed_line_on_all_is_asked_again(tmp_path, change, capfd):
    journal = Journal(tmp_path / "j", HEADER)
    journal.add("s", {"a": {}}, tokens=0, seconds=0.0)
    journal.close()
    assert "Continuing" not in capfd.readouterr().out
    for line, kept in ((WHOLE, 2), (WHOLE | change, 1)):
        copy = tmp_path / f"j{kept}"
        copy.write_bytes((tmp_path / "j").read_bytes() + json.dumps(line).encode() + b"\n")
        assert Journal(copy, HEADER).continued == kept
        assert f"Continuing: {kept} replies" in capfd.readouterr().out


def test_a_malformed_first_reply_is_asked_again(tmp_path):
    Journal(tmp_path / "j", HEADER).close()
    with open(tmp_path / "j", "ab") as lines:
        lines.write(json.dumps(WHOLE | {"replies": None}).encode() + b"\n")
    assert Journal(tmp_path / "j", HEADER).continued == 0


def test_no_reply_is_doubled(tmp_path):
    filled(tmp_path / "j")
    journal = Journal(tmp_path / "j", HEADER)
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(FormsafeError, match="doubled"):
        journal.add("harmful", {"c": {}, "a": {}}, tokens=0, seconds=0.0)
    assert (tmp_path / "j").read_bytes() == before
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.add("harmful", {"c": {"digits": float("nan")}}, tokens=0, seconds=0.0)


def test_every_line_is_synced_before_the_call_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append((tmp_path / "j").read_bytes()))
    journal = Journal(tmp_path / "j", HEADER)
    synced.clear()
    journal.add("harmful", {"a": {}}, tokens=0, seconds=0.0)
    assert synced == [(tmp_path / "j").read_bytes()]


def test_a_finished_journal_is_removed(tmp_path):
    assert "x\u2028é".encode() in filled(tmp_path / "j")  # as it is: an escaped letter is three times as long
    journal = Journal(tmp_path / "j", HEADER)
    journal.remove()
    journal.remove()  # a second time is no error
    assert not (tmp_path / "j").exists()
