"""Sentence boundaries: start offsets from NLTK's Punkt, pieces sliced from the text itself, so that they always rejoin.

Punkt (Kiss and Strunk, 2006) comes without parameters here: its abbreviations and its evidence of which words start
sentences are the two lists below, and five rules on top mend what it cannot express. It was chosen over pysbd, syntok
and blingfire by F1 (benchmarks/data_sentences.py).
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer  # type: ignore[import-untyped]

_ABBREVIATIONS = """
    tsp tsps tbsp tbsps tbs oz lb lbs qt qts pt pts gal ml cm mm km kg g in ft yd yds sq cu mi mph rpm min mins
    sec secs hr hrs wk mo yr yrs temp approx ca max avg est incl excl misc resp abbr dept div ext vol vols ed
    eds rev ch e.g eg i.e ie etc vs viz cf al al. fig figs no nos p pp par a.m p.m am. pm. b.c a.d c.e b.c.e dr
    mr mrs ms prof sr jr st mt ave blvd rd hwy rte apt gen gov sen rep sgt capt col lt cmdr hon pres supt messrs
    mme mlle inc ltd co corp bros llc plc assn univ ph.d m.d b.a m.a b.s b.sc m.sc d.d.s r.n esq jan feb mar apr
    jun jul aug sept sep oct nov dec mon tue tues wed thu thur thurs fri u.s u.k u.s.a e.u u.n d.c n.y l.a p.o
    p.s z.b d.h u.a bzw usw nr
"""
# Words that are common in the middle of a sentence in small letters, so that a capital tells of a new sentence.
_COMMON_WORDS = """
    a about above add adjust after afterwards again all allow also alternatively although always an and another
    any apply apologize are arrange as ask assemble at attach avoid bake be because before begin below bend
    blend boil both bring brush build buy but by call can carefully check choose clean close combine confirm
    consider continue cook cool count cover create cut decide describe determine discuss do does don't drain
    draw drink drop dry during each eat either encourage enjoy ensure enter even every expect explain feel fill
    finally find finish first fold follow for freeze from gather get give go grab have he heat help her here his
    hold how however i if imagine in include install instead is it its join just keep know lastly lay learn
    leave let lift light listen lock look lower make many mark measure meanwhile mix most move my never next no
    not note now offer on once one only open or order other otherwise our overall pay peel pick place plan play
    point pour practice prepare press prevent pull push put read reboot remember remove repeat replace research
    rest rinse roll rotate rub run save scrub search see select serve set she should show sign simply since
    slice slide soak some spend spray sprinkle squeeze start stay stick stir stop store such take talk tell test
    that the their then there these they think this those though throw tie to trim try turn twist type unless
    unplug until unscrew up use using visit wait walk wash watch we wear what when where whether which while who
    why wipe with work wrap write yes you your
"""
# After these, any capital starts a sentence: they are not followed by the rest of a name.
_CLOSING = re.compile(r"(?:\b(?:etc|mins?|secs?|hrs?)\.|\.\.|…)[\"'”’»)\]]*$")
# Abbreviations that are words, too ("log in.", "say no."), unless a number stands before: "12 in. PVC pipe".
_WORD_TOO = re.compile(r"(?<!\d )\b(?:in|no|max|rep|fig)\.[\"'”’»)\]]*$")
_HALF_DAY = re.compile(r"\b[ap]\.m\.[\"'”’»)\]]*$")
# What follows `a.m.` within a sentence: `at 9 a.m. Monday`, `at 9 a.m. EST`.
_TIME_WORD = re.compile(r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|[ECMP][SD]?T\b|GMT|UTC")
# `1.`, `2)` and `b)` at the start of a sentence are followed by its text, not by a new sentence.
_LIST_MARK = re.compile(r"(?:^|[.!?:] )(?:\d{1,2}[.)]|[a-zA-Z]\))$")
_OPENERS = "\"'“‘«([¿¡"
# A space after a mark that can end a sentence, closing quotes and brackets included.
_CANDIDATE = re.compile(r"(?<=[.!?…\"'”’»)\]]) (?=\S)")


def sentence_starts(text: str) -> list[int]:
    """Find where sentences start.

    Args:
        text: running text as `formsafe.core.texts.normalise` leaves it.

    Returns:
        Character offsets in rising order, the first of them 0; none for empty text. All others follow a space.
    """
    if not text:
        return []
    punkt = {start for start, _ in _punkt().span_tokenize(text)}
    return [0] + [m.end() for m in _CANDIDATE.finditer(text) if _starts(text, m.start(), m.end() in punkt)]


def split_sentences(text: str) -> list[str]:
    """Split running text; `" ".join` of the sentences is `text` again, exactly."""
    return slice_sentences(text, sentence_starts(text))


def slice_sentences(text: str, starts: Sequence[int]) -> list[str]:
    """Cut `text` at the offsets that `sentence_starts` found, the space before each left out."""
    return [text[start : end - 1] for start, end in pairwise([*starts, len(text) + 1])]


def _starts(text: str, space: int, punkt: bool) -> bool:
    """Decide whether a sentence starts after the space at offset `space`."""
    # The rules look at some words around the space; searching all of a long text at every space would be quadratic.
    before = text[max(0, space - 40) : space]
    after = text[space + 1 : space + 40]
    word = after.lstrip(_OPENERS)
    if _LIST_MARK.search(before):
        return False
    if word[:1].islower():  # only names such as iPhone, and list marks such as b), start in small letters
        return punkt and bool(re.match(r"[a-z]+[A-Z]|[a-z]\)", word))
    if _CLOSING.search(before) and word[:1].isupper():
        return True
    if _WORD_TOO.search(before) and word[:1].isupper() and word[1:2].islower():  # not "no. XR5", "fig. A"
        return True
    if _HALF_DAY.search(before) and word[:1].isupper():
        return not _TIME_WORD.match(word)
    return punkt


@cache
def _punkt() -> "PunktSentenceTokenizer":
    from nltk.tokenize import punkt  # type: ignore[import-untyped]

    parameters = punkt.PunktParameters()
    parameters.abbrev_types.update(_ABBREVIATIONS.split())
    for word in _COMMON_WORDS.split():
        parameters.add_ortho_context(word, punkt._ORTHO_LC | punkt._ORTHO_BEG_UC)
    return punkt.PunktSentenceTokenizer(parameters)
