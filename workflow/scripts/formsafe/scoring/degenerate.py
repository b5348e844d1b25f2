"""Answers that no judge can judge: empty, one thing repeated, or cut. They are counted, since judges fail on them."""

from collections.abc import Sequence

SHORTEST = 12  # words or characters: shorter texts repeat themselves by chance
LONGEST_PERIOD = 24
MOST = 0.9  # of the places at which a text repeats what it said one period before


def degenerate(answer: str, finish_reason: str) -> dict[str, bool]:
    """What is wrong with an answer.

    Args:
        answer: what the user sees, without thoughts.
        finish_reason: why it ended.

    Returns:
        `empty`: it has no letter, digit or sign; `repeated`: it is a loop of a few words or characters, as a whole or
        in its second half; `cut`: it ended at the limit of tokens.
    """
    return {"empty": not answer.strip(), "repeated": is_repeated(answer), "cut": finish_reason == "length"}


def is_repeated(answer: str) -> bool:
    """Whether an answer is a loop.

    >>> is_repeated("and then " * 20), is_repeated("ha" * 30), is_repeated("Fill it, then wait for the water.")
    (True, True, False)
    """
    words = answer.lower().split()
    half = words[len(words) // 2 :]
    # by characters as well: a loop without spaces (`hahaha`, or any loop in Chinese) is one word
    return any(map(_loops, (words, half, "".join(words))))


def _loops(parts: Sequence[str]) -> bool:
    if len(parts) < SHORTEST:
        return False
    for period in range(1, min(LONGEST_PERIOD, len(parts) // 4) + 1):  # said four times or more
        places = len(parts) - period
        same = sum(parts[place] == parts[place + period] for place in range(places))
        if same >= MOST * places:
            return True
    return False
