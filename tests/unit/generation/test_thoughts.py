"""Thoughts are cut before any text is read; more of their shapes in tests/unit/scoring/test_never_invented.py."""

import pytest

from formsafe.generation.thoughts import hide_thoughts, opened_thoughts, split_thoughts


@pytest.mark.parametrize(
    ("text", "visible", "thoughts"),
    [
        ("No.", "No.", ""),
        (" No. ", " No. ", ""),
        ("<think>Hm.</think>\n\nNo.", "No.", "<think>Hm.</think>"),
        ("Hm.</think>No.", "No.", "Hm.</think>"),
        ("No. <think>Hm.", "No.", "<think>Hm."),
        ("Yes<think>a</think>no", "Yes no", "<think>a</think>"),
        ("Yes <think>a</think>no", "Yes no", "<think>a</think>"),
        ("Yes<think>a</think> no", "Yes no", "<think>a</think>"),
        ("<think>a</think>One<think>b</think>two", "One two", "<think>a</think>\n<think>b</think>"),
        ("<think>a<think>b</think>One", "One", "<think>a<think>b</think>"),
        ("a<think>b</think>c</think>One", "One", "a<think>b</think>c</think>"),
        ("analysisHm.assistantfinalNo.", "No.", "analysisHm.assistantfinal"),
        ("analysisHm.assistantfinal<think>b</think>No.", "No.", "analysisHm.assistantfinal\n<think>b</think>"),
        ("A tag `<think>` is spoken of.", "A tag `<think>` is spoken of.", ""),
    ],
)
def test_what_is_visible_and_what_is_thought(text, visible, thoughts):
    assert split_thoughts(text) == (visible, thoughts)


def test_hidden_thoughts_leave_every_other_character_in_its_place():
    text = "One<think>b\nc</think>two<think>d"
    assert hide_thoughts(text) == "One" + " " * 8 + "\n" + " " * 9 + "two" + " " * 8
    assert hide_thoughts("No thoughts.") == "No thoughts."


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [("How?\nassistant\n<think>\n", "<think>"), ("<think> How?", ""), ("How?", ""), ("How? <think></think>\n", "")],
)
def test_a_template_opens_thoughts_by_the_last_tag_of_the_prompt(prompt, opened):
    assert opened_thoughts(prompt) == opened
    assert opened_thoughts("x" * 500 + prompt) == opened
