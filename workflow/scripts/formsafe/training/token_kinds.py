"""Which tokens of a response are format, which content, and which content is the same in every format.

A format writes sentences between marks. A tokenizer does not respect that boundary, so a token has one of three kinds:
CONTENT (characters of sentences only), FORMAT (none of them) or MIXED (both). White space that the vocabulary writes
into the front of a word belongs to the word: in running text ` Then` is content, although the space is format.

INTERIOR tokens are content, too. Their ids are the same in every format, so their losses can be compared between
formats. They are the tokens of whole words (with the space before) of a sentence, but not of

- its first word, which a tokenizer joins with the mark before it;
- the last pre-token of its last word, usually the full stop, which it joins with the mark after it;
- words with characters that some format escapes.

Example: the sentence `Wipe the lamp.` as running text and in a list, with Llama-3's tokenizer (i: interior,
c: other content, f: format, m: mixed).

    Wipe the lamp. Then rest.        Wipe(c)  the(i)  lamp(i) .(c)  Then(c)  rest(i) .(c)
    - Wipe the lamp.\\n- Then rest.   -(f)  Wipe(c)  the(i)  lamp(i) .\\n(m) -(f)  Then(c)  rest(i) .(c)
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

CONTENT, FORMAT, MIXED, INTERIOR = range(4)
KINDS = 4
# Blanks before other characters of a token. A line break is not among them: it is a mark of the format.
_BLANKS = re.compile(r"[^\S\r\n]+(?=\S)")
# What a format of this library may escape, or write as a mark that a sentence must then escape; every escape sequence
# holds one of these characters, too, so the escaped word is recognised in every format.
ESCAPABLE = re.compile(r"[\"\\&<>•\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

Offsets = Sequence[tuple[int, int]]


class Word(NamedTuple):
    """An interior word: its characters, the space before included."""

    start: int
    end: int


def kinds_of(text: str, content: Sequence[tuple[int, int]], offsets: Offsets) -> list[int]:
    """CONTENT, FORMAT or MIXED for each token.

    Args:
        text: what was tokenised.
        content: character ranges in `text` that are content, in order.
        offsets: character ranges of the tokens, white space included.
    """
    kinds_of_characters = bytearray([FORMAT]) * len(text)
    for start, end in content:
        kinds_of_characters[start:end] = bytes([CONTENT]) * (end - start)
    kinds = []
    for start, end in offsets:
        blanks = _BLANKS.match(text, start, end)
        covered = set(kinds_of_characters[blanks.end() if blanks else start : end])
        kinds.append(MIXED if len(covered) > 1 else covered.pop() if covered else FORMAT)
    return kinds


def interior_words(text: str, sentences: Sequence[tuple[int, int]], tokenizer: PreTrainedTokenizerFast) -> list[Word]:
    """The interior words of the sentences at `sentences` in `text`; every format of a text gives as many, in order."""
    return [word for start, end in sentences for word in _interior(text[start:end], start, tokenizer)]


def _interior(sentence: str, shift: int, tokenizer: PreTrainedTokenizerFast) -> Iterator[Word]:
    words = [match.span() for match in re.finditer(r" \S+", sentence)]
    for number, (start, end) in enumerate(words):
        if ESCAPABLE.search(sentence, start, end):
            continue
        if number == len(words) - 1:
            end = start + _last_pre_token(sentence[start:end], tokenizer)
        if end > start:
            yield Word(shift + start, shift + end)


def _last_pre_token(word: str, tokenizer: PreTrainedTokenizerFast) -> int:
    """Where the last pre-token of a word starts; 0 for tokenizers without pre-tokens, which have nothing but words."""
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    pieces = splitter.pre_tokenize_str(word) if splitter is not None else []
    return int(pieces[-1][1][0]) if pieces else 0


def mark_interior(kinds: list[int], words: Sequence[Word], ids: Sequence[int], offsets: Offsets) -> list[list[int]]:
    """Set the kind of the tokens of interior words to INTERIOR, and return the ids of each word.

    Args:
        kinds: of each token; changed.
        words: what `interior_words` found.
        ids: of each token.
        offsets: character ranges of the tokens in rising order.

    Returns:
        For each word its ids; none where its tokens reach beyond the word, and then it is not marked.
    """
    starts = [start for start, _ in offsets]
    found = []
    for word in words:
        first, last = bisect_left(starts, word.start), bisect_left(starts, word.end)
        exact = first < last and starts[first] == word.start and offsets[last - 1][1] == word.end
        found.append(list(ids[first:last]) if exact else [])
        if exact:
            kinds[first:last] = [INTERIOR] * (last - first)
    return found
