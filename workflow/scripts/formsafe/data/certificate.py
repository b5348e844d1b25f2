"""Rendering with proof: every format carries the same sentences, and nothing of them is lost on the way."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from formsafe.core.errors import FormsafeError
from formsafe.core.files import file_digest, read_json, write_json
from formsafe.core.texts import sha256
from formsafe.data.records import CorpusExample, TrainingExample, training_example
from formsafe.formats.base import Format, FormatError, Rendered
from formsafe.formats.registry import format_module, get_format

# Beside the certificate, a file a model: one more model changes no data.
TOKEN_COUNTS = "tokens/model=*.json"


@dataclass
class Counts:
    """What a certificate says of one split in one format.

    Equal in all formats are the fields up to `sentences_digest`; `content_digest` is over the content spans of the
    rendered texts, escape sequences resolved, the sentences of an example sorted, since a format may reorder them.
    """

    examples: int
    sentences: int
    content_characters: int
    ids_digest: str
    content_digest: str
    sentences_digest: str
    content_characters_written: int
    format_characters: int
    file_digest: str
    reordered_examples: int


SHARED = ("examples", "sentences", "content_characters", "ids_digest", "content_digest", "sentences_digest")
OWN = ("format_characters", "file_digest", "reordered_examples")


def render_format(
    name: str,
    corpus: Mapping[str, Path],
    outputs: Mapping[str, Path],
    certificate: Path,
    instruction: str = "{instruction}",
) -> dict[str, Any]:
    """Write every split in one format as training data, with its certificate.

    Args:
        name: the format.
        corpus: files of `CorpusExample` by split.
        outputs: files of `TrainingExample` by split, to write.
        certificate: JSON to write: the examples that were read back and compared, how many of them differ, and
            `Counts` by split.
        instruction: template of the user's message over `{instruction}`, the example's own.

    Returns:
        What `certificate` holds.

    Raises:
        FormsafeError: an example is not the same after writing and reading it; names the first ones by id.
    """
    format_ = get_format(name)
    faults: list[str] = []
    splits = {}
    for split, path in corpus.items():
        examples = CorpusExample.read(path)
        rendered = _rendered(format_, examples, split, faults)
        ids = [example.id for example in examples]
        asked = [instruction.replace("{instruction}", example.instruction) for example in examples]
        TrainingExample.write(outputs[split], map(training_example, ids, asked, rendered))
        splits[split] = asdict(_counts(format_, examples, rendered, outputs[split]))
    compared = sum(counts["examples"] for counts in splits.values())
    result = {"format": name, "instruction": instruction, "compared": compared, "mismatches": len(faults)}
    result["splits"] = splits
    write_json(certificate, result)
    return result


def mismatch(format_: Format, sentences: Sequence[str], rendered: Rendered) -> str | None:
    """What is lost between `sentences` and `rendered`; None if nothing is.

    Both what parsing gives back and the decoded content spans must be the sentences, in the format's order, and the
    spans must cover the text exactly and in order.
    """
    try:
        order = format_.arranged(sentences)
        if sorted(order) != sorted(sentences) or format_.parse(rendered.text) != order:
            return "parsing gives other sentences"
    except FormatError as error:
        return str(error)
    end = 0
    for span in rendered.spans:
        if span.start != end or span.end <= span.start:
            return "the spans leave a gap or overlap"
        end = span.end
    if end != len(rendered.text):
        return "the spans do not reach the end"
    if contents(format_, rendered) != order:
        return "the content spans hold other characters"
    return None


def contents(format_: Format, rendered: Rendered) -> list[str]:
    """The sentences of a rendered text, taken from its content spans, escape sequences resolved."""
    return [format_.decode(rendered.text[span.start : span.end]) for span in rendered.spans if span.kind == "content"]


def certify_formats(certificates: Sequence[Path], output: Path) -> dict[str, Any]:
    """Check that all formats carry the same examples with the same content, and write that into one file.

    Raises:
        FormsafeError: two formats differ in ids, sentences or content characters.
    """
    found = {record["format"]: record for record in map(read_json, certificates)}
    first, *others = found
    keys = [(split, key) for split in found[first]["splits"] for key in SHARED]
    faults = [
        f"{first} and {name}: {key} of the {split} split"
        for name in others
        for split, key in keys
        if found[name]["splits"][split][key] != found[first]["splits"][split][key]
    ]
    if faults:
        raise FormsafeError(
            f"These formats do not carry the same content: {'; '.join(faults[:5])}. "
            "Delete the folders of both formats and run again."
        )
    result: dict[str, Any] = {
        "formats": list(found),
        "compared": len(keys) * len(others) + sum(record["compared"] for record in found.values()),
        "mismatches": len(faults) + sum(record["mismatches"] for record in found.values()),
        "splits": {},
        **{key: {} for key in OWN},
        "token_counts": TOKEN_COUNTS,
    }
    for split, counts in found[first]["splits"].items():
        result["splits"][split] = {key: counts[key] for key in SHARED}
    for key, (name, record) in product(OWN, found.items()):
        result[key][name] = {split: counts[key] for split, counts in record["splits"].items()}
    write_json(output, result)
    return result


def _rendered(format_: Format, examples: Sequence[CorpusExample], split: str, faults: list[str]) -> list[Rendered]:
    rendered = []
    for example in examples:
        try:
            rendered.append(format_.render(example.sentences))
            fault = mismatch(format_, example.sentences, rendered[-1])
        except FormatError as error:
            fault = f"cannot be written: {error}"
        if fault is not None:
            faults.append(f"{example.id} ({fault})")
    if faults:
        raise FormsafeError(
            f"{len(faults):,} of {len(examples):,} examples of the {split} split do not survive the format "
            f"{format_.name}: {', '.join(faults[:5])}. A format must give back the sentences that it was "
            f"given: correct {format_module(format_.name)}, or cut the texts by split_sentences first."
        )
    return rendered


def _counts(format_: Format, examples: list[CorpusExample], rendered: list[Rendered], path: Path) -> Counts:
    written = [span.end - span.start for text in rendered for span in text.spans if span.kind == "content"]
    told = [contents(format_, text) for text in rendered]
    return Counts(
        examples=len(examples),
        sentences=sum(len(example.sentences) for example in examples),
        content_characters=sum(len(sentence) for sentences in told for sentence in sentences),
        ids_digest=sha256("\n".join(example.id for example in examples)),
        # Sorted and joined without marks: formats may change order and boundaries, but not what is written.
        content_digest=sha256("\n".join("".join(sorted(sentences)) for sentences in told)),
        sentences_digest=sha256("\n".join(json.dumps(example.sentences) for example in examples)),
        content_characters_written=sum(written),
        format_characters=sum(len(text.text) for text in rendered) - sum(written),
        file_digest=file_digest(path),
        reordered_examples=sum(order != example.sentences for order, example in zip(told, examples, strict=True)),
    )
