"""Sentence boundaries: measured against hand labels, and pieces that always rejoin."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formsafe.core.texts import normalise, sha256
from formsafe.formats.sentences import sentence_starts, split_sentences
from tests.sentence_cases import CASES, UNSEEN_CASES, WIKISUM_STARTS, WORDS_TOO


def starts_of(sentences):
    offsets, end = [], 0
    for sentence in sentences:
        offsets.append(end)
        end += len(sentence) + 1
    return offsets


def f1(labelled):
    """F1 over sentence starts, the trivial first one left out; `labelled` yields (text, offsets)."""
    found = missed = wrong = 0
    for text, offsets in labelled:
        got, gold = set(sentence_starts(text)) - {0}, set(offsets) - {0}
        found, missed, wrong = found + len(got & gold), missed + len(gold - got), wrong + len(got - gold)
    return 2 * found / (2 * found + missed + wrong)


def test_f1_on_the_hand_written_cases():
    assert len(CASES) >= 40
    assert f1((" ".join(case), starts_of(case)) for case in CASES) >= 0.97


def test_f1_on_cases_it_was_not_fitted_to():
    assert f1((" ".join(case), starts_of(case)) for case in UNSEEN_CASES) >= 0.95


@pytest.mark.parametrize("case", WORDS_TOO)
def test_words_that_are_abbreviations_too(case):
    assert split_sentences(" ".join(case)) == case


def test_f1_on_the_real_summaries(real_data):
    lines = (real_data / "wikisum" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    summaries = [json.loads(line)["summary"] for line in lines]
    assert [sha256(summary)[:16] for summary in summaries] == [digest for digest, _ in WIKISUM_STARTS]
    assert f1(zip(summaries, [offsets for _, offsets in WIKISUM_STARTS], strict=True)) >= 0.97


@pytest.mark.parametrize(
    "text, sentences",
    [
        ("", []),
        ("One only", ["One only"]),
        ("No space.Here it goes on.", ["No space.Here it goes on."]),
        ("What now?! Go on.", ["What now?!", "Go on."]),
        ("1. Fill it. 2. Dry it.", ["1. Fill it.", "2. Dry it."]),
        ("Add 2 tbsp. Then stir it.", ["Add 2 tbsp.", "Then stir it."]),  # a word that is common in small letters
        ("Say no. McDonald agrees.", ["Say no.", "McDonald agrees."]),
        ("Leave it. iPhones break.", ["Leave it.", "iPhones break."]),
        ("Leave it. éClairs break.", ["Leave it. éClairs break."]),  # such names are in plain letters only
    ],
)
def test_edges(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    "before, after, sentences",
    [
        ("etc." + 36 * '"', "Go on.", 2),
        ("etc." + 37 * '"', "Go on.", 1),
        ("etc.", 38 * "(" + "Zed goes on.", 2),
        ("etc.", 39 * "(" + "Zed goes on.", 1),
    ],
)
def test_a_start_is_told_by_forty_characters_before_it_and_thirty_nine_behind(before, after, sentences):
    """However many quotes and brackets there are, a long text takes no longer than it must."""
    assert len(split_sentences(f"Use soap {before} {after}")) == sentences


@settings(max_examples=300, deadline=None)
@given(st.text(st.one_of(st.sampled_from(".!?… \"'”()-1aAI\n"), st.characters(exclude_categories=["Cs"])), max_size=60))
def test_pieces_rejoin_whatever_the_text(text):
    text = normalise(text)
    sentences = split_sentences(text)
    assert " ".join(sentences) == text
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)
    assert split_sentences(" ".join(sentences)) == sentences
