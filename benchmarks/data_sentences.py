"""Which sentence splitter: F1 over sentence starts, on real summaries and hand-written cases, and time a summary.

    python benchmarks/data_sentences.py [PATH/wikisum/train.jsonl]

The other splitters are measured where they are installed (`pip install pysbd syntok blingfire`). Results go to
benchmarks/results/data_sentences.json.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from committed import ROOT, save

from formsafe.formats.sentences import sentence_starts
from tests.sentence_cases import CASES, UNSEEN_CASES, WIKISUM_STARTS

Splitter = Callable[[str], list[int]]
Labelled = list[tuple[str, list[int]]]


def splitters() -> dict[str, Splitter]:
    """Every splitter that is installed, as a function from text to start offsets."""
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    plain = PunktSentenceTokenizer()
    found: dict[str, Splitter] = {
        "formsafe (Punkt with word lists)": sentence_starts,
        "nltk Punkt, untrained": lambda text: [start for start, _ in plain.span_tokenize(text)],
    }
    try:
        import pysbd

        segmenter = pysbd.Segmenter(language="en", clean=False, char_span=True)
        found["pysbd"] = lambda text: [span.start for span in segmenter.segment(text)]
    except ImportError:
        pass
    try:
        import syntok.segmenter

        found["syntok"] = lambda text: [s[0].offset for p in syntok.segmenter.analyze(text) for s in p]
    except ImportError:
        pass
    try:
        import blingfire

        found["blingfire"] = lambda text: [start for start, _ in blingfire.text_to_sentences_and_offsets(text)[1]]
    except ImportError:
        pass
    return found


def labelled(cases: list[list[str]]) -> Labelled:
    """Cases as (text, start offsets)."""
    starts = ([sum(len(s) + 1 for s in case[:index]) for index in range(len(case))] for case in cases)
    return [(" ".join(case), offsets) for case, offsets in zip(cases, starts, strict=True)]


def f1(split: Splitter, cases: Labelled) -> float:
    """F1 over sentence starts but the first."""
    found = errors = 0
    for text, offsets in cases:
        got, gold = set(split(text)) - {0}, set(offsets) - {0}
        found, errors = found + len(got & gold), errors + len(got ^ gold)
    return round(2 * found / (2 * found + errors), 4)


def main() -> None:
    """Measure and write the results."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data" / "wikisum" / "train.jsonl"
    sets = {"hand-written cases": labelled(CASES), "cases it was not fitted to": labelled(UNSEEN_CASES)}
    if source.exists():
        texts = [json.loads(line)["summary"] for line in source.read_text(encoding="utf-8").splitlines()]
        sets["real WikiSum summaries"] = list(zip(texts, [offsets for _, offsets in WIKISUM_STARTS], strict=True))
    results = {}
    for name, split in splitters().items():
        results[name] = {kind: f1(split, cases) for kind, cases in sets.items()}
        summaries = [text for text, _ in sets.get("real WikiSum summaries", sets["hand-written cases"])] * 10
        started = time.perf_counter()
        for text in summaries:
            split(text)
        results[name]["ms a text"] = round((time.perf_counter() - started) / len(summaries) * 1000, 3)
        print(name, results[name])
    versions = {name: metadata.version(name) for name in ("nltk", "pysbd", "syntok", "blingfire") if _installed(name)}
    boundaries = {kind: sum(len(offsets) - 1 for _, offsets in cases) for kind, cases in sets.items()}
    record = {"f1": results, "boundaries": boundaries, "versions": versions}
    save("data_sentences", record)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
