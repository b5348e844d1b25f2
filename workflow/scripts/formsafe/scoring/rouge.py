"""ROUGE-L over the words of any script, by one rule."""

import unicodedata
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import regex

# A word is a run of letters, digits and the marks on them: without the marks (`\w` has none), two Hindi words that
# differ in their vowels would be the same word. Scripts that put no space between words are taken cluster by cluster.
_SPACELESS = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Han}\p{Hiragana}\p{Katakana}"
_WORD = regex.compile(
    rf"(?=[{_SPACELESS}])[\p{{L}}\p{{N}}][\p{{M}}\u200d]*|(?:(?![{_SPACELESS}])[\p{{L}}\p{{N}}][\p{{M}}\u200c\u200d]*)+"
)


def words(text: str, stemming: bool = False) -> list[str]:
    """The words of a text in compatibility form (NFKC) and lower case.

    For ASCII text they are those of rouge-score, which cuts other words at every letter outside a to z.
    """
    found = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    if not stemming:
        return list(found)
    stem = _stemmer().stem
    return [stem(word) if len(word) > 3 and word.isascii() else word for word in found]  # as rouge-score does


def rouge_l(answer: str, reference: str, stemming: bool = False) -> float:
    """F1 of the longest common subsequence of words, 0 to 1 (Lin, 2004)."""
    scored = _scorer(stemming).score(target=reference, prediction=answer)["rougeL"]
    return float(scored.fmeasure)


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]

    return PorterStemmer()


@cache
def _scorer(stemming: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=SimpleNamespace(tokenize=partial(words, stemming=stemming)))
