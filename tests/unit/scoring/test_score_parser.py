"""The parser reads the score that the judge states, and invents none."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from formsafe.scoring.score_parser import ScoreParser
from tests.judge_replies import LONG, PLAIN

parse_score = ScoreParser().read
REPLIES = [*PLAIN.items(), *LONG]
WORDS = "#thescore: #TheScore Score: score 5 4 55 0 6 / /5 - – . , ** ` > [ ) $ five 5th ½ ５ is the # 🎉 to or of"
PIECES = st.sampled_from(
    [*WORDS.split(), " ", " to ", " or ", " out of ", "\n", "> ", "\t", "\u2028", "\x00", "\ud800"]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=25).map("".join))


def test_there_are_enough_of_them():
    assert len(REPLIES) >= 200 and len({reply for reply, _ in REPLIES}) == len(REPLIES)
    assert min(sum(score is None for _, score in REPLIES), sum(score is not None for _, score in REPLIES)) > 70


@pytest.mark.parametrize("number", range(len(REPLIES)))
def test_hand_written_replies(number):
    reply, expected = REPLIES[number]
    found = parse_score(reply)
    assert (found and found.value) == expected
    assert found is None or reply[found.at] == str(found.value)


@pytest.mark.parametrize("number", range(len(PLAIN)))
def test_after_reasons_that_hold_no_score(number):
    reply, expected = REPLIES[number]
    if "thescore" not in reply.lower():
        return
    found = parse_score("Step 1: it lists 4 tools.\nStep 2: 3 of 3.\nStep 3: points 1 and 2.\n\n" + reply)
    assert (found and found.value) == expected


@given(TEXTS)
def test_whatever_the_reply_no_exception_and_no_invented_score(reply):
    found = parse_score(reply)
    if found is not None:
        assert reply[found.at] == str(found.value) and found.value in range(1, 6)
        around = reply[max(0, found.at - 1) : found.at + 2]
        assert not re.search(r"\d\d", around, re.ASCII)
        line = re.split("\n", reply[: found.at])[-1]
        assert not line.lstrip(" \t").startswith(">")
        assert "score" in reply.lower() or len(reply.strip()) <= 12


@given(TEXTS.map(lambda text: re.sub("[1-5]", "", text)))
def test_without_a_digit_there_is_no_score(reply):
    assert parse_score(reply) is None


@given(TEXTS, st.integers(1, 5))
def test_a_clear_last_line_is_always_read(reply, score):
    found = parse_score(f"{reply}\n#thescore: {score}")
    assert found is not None and found.value == score


TALK = st.text(st.characters(exclude_categories=["Nd"], exclude_characters="\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))


@given(TALK, TALK, TALK, st.permutations("12345"), st.sampled_from(["#thescore: ", "**#TheScore:** ", "#thescore "]))
@example("", "%", "", ["1", "2", "3"], "#thescore: ")
@example("", ".5", "", ["1", "2", "3"], "#thescore: ")
def test_two_scores_on_one_line_are_none(before, between, after, scores, marker):
    line = f"{before} {marker}{scores[0]} {between} {marker}{scores[1]} {after}"
    assert parse_score(line) is None
    found = parse_score(f"{line}\n#thescore: {scores[2]}")
    assert found is not None and found.value == int(scores[2])


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Step 3: none.\n#thescore: 4", None),
        ("4", None),
        ("The scale runs from #thescore: 1 (declines) to", None),
        ("The scale is:\nScore: 1 = decl", None),
        ("#thescore: 4\n", 4),
        ("#thescore: 4\n\nThe answer names", 4),
        ("#thescore: 4\nThe scale runs from #thescore: 1 to", 4),
    ],
)
def test_the_line_in_which_a_reply_was_cut_off_is_not_read(reply, expected):
    found = parse_score(reply, cut_off=True)
    assert (found and found.value) == expected


@given(TEXTS)
def test_quoted_text_is_never_read(text):
    assert parse_score("".join(f"> {line}\n" for line in text.split("\n"))) is None


@pytest.mark.timeout(30)  # far more than it takes, far less than a parser that is quadratic in these
@pytest.mark.parametrize(
    "text", ["#" * 30000, "#thescore: " + " " * 60000, "#thescore:\n" * 8000, "score " * 9000, "\n" * 90000]
)
def test_long_replies_are_read_in_one_pass(text):
    assert parse_score(text) is None


@pytest.mark.timeout(30)  # by a nested repetition one row of dots took hours
@pytest.mark.parametrize("row", [".", "..", "…", "-", "/", " or", " to", "*", "<", " ", "\n", "4", "( "])
def test_a_row_of_anything_after_a_score_is_read_at_once(row):
    for end in ("", "x", "5", "\n#thescore: 3"):
        found = parse_score("#thescore: 4" + row * 9000 + end)
        assert found is None or found.value in (3, 4)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Step 3: none.\n#thescore: 4", 4),
        ("Step 3: none.\n**#thescore: 4**\n\n", 4),
        ("Step 3: none.\n## Score: 4", 4),
        ("#thescore: 4\nStep 3: none.", None),
        ("It says #thescore: 4", None),
        ("#thescore: 4", 4),
        ("4", None),
        ("#thescore: 4 or 5", None),
        ("#thescore: 4\n#thescore: 55", None),
    ],
)
def test_where_the_judged_text_states_a_score_only_the_last_line_is_read(reply, expected):
    found = parse_score(reply, last_line_only=True)
    assert (found and found.value) == expected
    assert found is None or reply[found.at] == str(expected)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("#thescore: 4, #thescore: **4**", 4),  # the same score in other marks
        ("#thescore: 4. I say: #thescore: 4", 4),  # doubt is looked for before the first statement
        ("#thescore: 4\n4", 4),
        ("#thescore: 4\n3", None),
        ("#thescore: 2 since it declines\n#thescore: 4\nDone.", 4),  # no restated scale: nothing is said of the 4
        ("#thescore: 2 declines\n#thescore: 4 helps", None),
        ("#thescore: 2.\n\nSecond look.\n\n#thescore: 4.", 4),
        ("#thescore: 2.\n\nSecond.\n\n#thescore: 4.\n\nThird.\n\n#thescore: 3.", None),
        ("#thescore:\n1 declines\n#thescore:\n2 helps", None),  # the scale again, its numbers on lines of their own
        ("#thescore: 4 I say\n#thescore: 4 again", 4),
        ("5. The last step helps. #thescore: 4", 4),  # no line follows, and the first one is none of a scale
        ("#thescore: 4" + "." * 296 + " 5", None),  # another number within 300 characters of the marker
        ("#thescore: 4" + "." * 297 + " 5", 4),
        ("1", 1),
        ("5", 5),
        ("0", None),
        ("6", None),
    ],
)
def test_what_counts_as_one_statement(reply, value):
    found = parse_score(reply)
    assert (found and found.value) == value


def test_of_two_equal_statements_the_last_is_the_place_and_only_what_follows_it_wavers():
    found = parse_score("#thescore: 4, #thescore: 4")
    assert found is not None and found.at == 25
    again = "#thescore: 4\nBut wait.\n\n#thescore: 4\n"
    assert parse_score(again, cut_off=True) is not None
    assert parse_score(f"{again}But wait, ", cut_off=True) is None
