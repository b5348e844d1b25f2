"""What the data stage costs at full size, and whether anything is lost: one process, one core.

    python benchmarks/data_formats.py

Rows as many and as long as WikiSum's (39,775 summaries of 65 to 117 words, made from a small vocabulary) go through the
corpus split, all formats and the certificate. Then 10,000 generated nasty texts go through every format. Seconds are
CPU seconds of the one process, which is what they take on an idle core. Results go to
benchmarks/results/data_formats.json.
"""

import os
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from committed import save

os.environ["OMP_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from formsafe.config.settings.data import Splits
from formsafe.core.files import write_jsonl
from formsafe.core.texts import normalise
from formsafe.data.certificate import certify_formats, mismatch, render_format
from formsafe.data.corpus import split_corpus
from formsafe.formats.base import FormatError
from formsafe.formats.registry import format_names, get_format
from formsafe.formats.sentences import split_sentences

FORMATS = format_names()
ROWS = 39_775
TEXTS = 10_000
SPLITS = Splits(train=35_775, validation=2_000, test=2_000)
WORDS = (
    "water kettle towel slowly bowl salt paper handle wooden lamp the a your it until with and then under warm cold "
    "dry fence brush paint corner small large add wipe fill leave press turn quarter-inch e.g. tsp. 3.5 12 "
    "don't “soft” (red)"
)
NASTY = [
    *"\"'\\/{}[]:,-*+•#`|<>&.!?… \t\n\r\v\f\x00\x07\x1b\x1c\x7f\x85\u00a0\u200b\u200f\u202e\u2028\u2029\ufeff",
    *(
        "- ",
        "\n- ",
        "1. ",
        "\\n",
        "\\u0041",
        '{"procedure": ["',
        '"]}',
        "```",
        " • ",
        "<step>",
        "&amp;",
        "</",
        "procedure: ",
    ),
    *("🎉👩‍🔬", "שלום", "مرحبا.", "e\u0301", "Stir it. ", "Wait! ", "etc. "),
]


def how_to(number: int, rng: random.Random) -> dict[str, object]:
    """A row of WikiSum's size."""
    sentences, words = [], 0
    while words < rng.randint(65, 95):
        length = rng.randint(8, 26)
        sentences.append(
            " ".join(["First,", *rng.choices(WORDS.split(), k=length - 1)]) + rng.choice([".", ".", ".", "!", "?"])
        )
        words += length
    return {
        "row": number,
        "title": f"How to {' '.join(rng.choices(WORDS.split(), k=4))} {number}",
        "response": " ".join(sentences),
    }


def full_size(folder: Path) -> dict[str, object]:
    """Time the corpus split, every format and the certificate over all rows."""
    rng = random.Random(0)
    write_jsonl(folder / "raw.jsonl", (how_to(number, rng) for number in range(ROWS)))
    corpus = {split: folder / f"{split}.jsonl" for split in ("train", "validation", "test")}
    outputs = corpus | {"prompts": folder / "prompts.jsonl", "counts": folder / "counts.json"}
    started = time.process_time()
    counts = split_corpus(folder / "raw.jsonl", SPLITS, 0, "{title}", outputs)
    seconds = {"split_corpus": time.process_time() - started}
    for name in FORMATS:
        started = time.process_time()
        written = {split: folder / name / f"{split}.jsonl" for split in corpus}
        render_format(name, corpus, written, folder / name / "certificate.json")
        seconds[f"render_format {name}"] = time.process_time() - started
    started = time.process_time()
    certificate = certify_formats([folder / name / "certificate.json" for name in FORMATS], folder / "certificate.json")
    seconds["certify_formats"] = time.process_time() - started
    return {
        "rows": ROWS,
        "mean_words": counts["splits"]["train"]["words"]["mean"],
        "cpu_seconds": {name: round(value, 2) for name, value in seconds.items()},
        "cpu_seconds_formats_and_certificate": round(sum(seconds.values()) - seconds["split_corpus"], 2),
        "cpu_seconds_total": round(sum(seconds.values()), 2),
        "mismatches": certificate["mismatches"],
    }


def nasty_texts() -> dict[str, Any]:
    """Send generated texts through every format and count what does not come back.

    Running text refuses texts that would be read as a list, JSON or XML, and such rows are left out of a corpus; what
    it takes, every format must take. Other texts go through the other formats as well.
    """
    rng = random.Random(1)
    counts = {name: {"conversions": 0, "refused": 0, "mismatches": 0} for name in FORMATS}
    for _ in range(TEXTS):
        letters = [chr(rng.choice([rng.randrange(32, 127), rng.randrange(0x80, 0xD800)])) for _ in range(8)]
        text = "".join(rng.choices(NASTY + letters, k=rng.randint(1, 40))) + "."
        sentences = split_sentences(normalise(text))
        for name, count in counts.items():
            marked = get_format(name)
            try:
                rendered = marked.render(sentences)
            except FormatError:
                count["refused"] += 1
                continue
            count["conversions"] += 1
            count["mismatches"] += mismatch(marked, sentences, rendered) is not None
    refused = {count["refused"] for name, count in counts.items() if not get_format(name).traits.plain}
    if refused != {0}:
        raise SystemExit(f"A format refuses what another can write: {counts}")
    return {"texts": TEXTS, "formats": counts}


def main() -> None:
    """Measure and write the results."""
    with tempfile.TemporaryDirectory() as folder:
        sized = full_size(Path(folder))
    record = {
        "full_size": sized,
        "generated_texts": nasty_texts(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    save("data_formats", record)


if __name__ == "__main__":
    main()
