"""ROUGE-L by rouge-score, which knows Latin letters without accents only and scores everything else 0."""

import re
from functools import cache
from typing import Any

# Runs of letters and digits; of scripts that write without spaces (Thai, Lao, Khmer, Myanmar, CJK), single characters.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")


def rouge_l(answer: str, reference: str, stemming: bool = False) -> float:
    """F1 of the longest common subsequence of words, 0 to 1 (Lin, 2004).

    References of mostly Latin letters are scored exactly as rouge-score does; others by words of any script.
    """
    score = _scorer(stemming, mostly_latin(reference)).score(target=reference, prediction=answer)["rougeL"]
    return float(score.fmeasure)


def mostly_latin(text: str) -> bool:
    """Whether at least half of the letters are ones that rouge-score knows."""
    letters = [character for character in text.lower() if character.isalpha()]
    return 2 * sum("a" <= character <= "z" for character in letters) >= len(letters)


@cache
def _scorer(stemming: bool, latin: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=stemming, tokenizer=None if latin else _AnyScript())


class _AnyScript:
    """Words of any script, for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        """Lower-case words."""
        return _WORD.findall(text.lower())
