"""Rendering with proof: every format carries the same sentences, and nothing of them is lost on the way."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, read_jsonl, write_json, write_jsonl
from formsafe.core.texts import sha256
from formsafe.formats.base import Format, FormatError, Rendered
from formsafe.formats.registry import format_module, get_format

Record = dict[str, Any]

# Equal in all formats, and what belongs to one.
SHARED = ("examples", "sentences", "content_characters", "ids_digest", "content_digest", "sentences_digest")
OWN = ("format_characters", "file_digest")
# Beside the certificate, a file a model: one more model changes no data.
TOKEN_COUNTS = "tokens/model=*.json"


def render_format(name: str, corpus: Mapping[str, Path], outputs: Mapping[str, Path], certificate: Path) -> Record:
    """Write every split in one format as training data, with its certificate.

    Args:
        name: the format.
        corpus: corpus files by split.
        outputs: training data by split: `{id, messages, spans}`.
        certificate: where counts and digests go.

    Returns:
        What `certificate` holds: by split, examples, sentences, characters by kind, digests of ids, content and
        sentences, and `file_digest`, the SHA-256 of the file's bytes.

    Raises:
        FormsafeError: an example does not survive the way there and back; names the first ones by id.
    """
    format_ = get_format(name)
    splits = {}
    for split, path in corpus.items():
        examples = read_jsonl(path)
        rendered = _rendered(format_, examples, split)
        records = [_training_record(example, text) for example, text in zip(examples, rendered, strict=True)]
        write_jsonl(outputs[split], records)
        splits[split] = _counts(format_, examples, rendered) | {"file_digest": _file_digest(outputs[split])}
    result = {"format": name, "mismatches": 0, "splits": splits}
    write_json(certificate, result)
    return result


def mismatch(format_: Format, sentences: Sequence[str], rendered: Rendered) -> str | None:
    """What is lost between `sentences` and `rendered`; None if nothing is.

    Held against the sentences: what parsing gives back, and the decoded content spans. The spans must also cover the
    text exactly and in order.
    """
    try:
        if format_.parse(rendered.text) != list(sentences):
            return "parsing gives other sentences"
    except FormatError as error:
        return str(error)
    end = 0
    for start, stop, _ in rendered.spans:
        if start != end or stop <= start:
            return "the spans leave a gap or overlap"
        end = stop
    if end != len(rendered.text):
        return "the spans do not reach the end"
    if content(format_, rendered) != "".join(sentences):
        return "the content spans hold other characters"
    return None


def content(format_: Format, rendered: Rendered) -> str:
    """All content characters of a rendered text, escape sequences resolved: equal in all formats."""
    return "".join(
        format_.decode(rendered.text[start:stop]) for start, stop, kind in rendered.spans if kind == "content"
    )


def certify_formats(certificates: Sequence[Path], output: Path) -> Record:
    """Check that all formats carry the same examples with the same content, and say so in one file.

    Raises:
        FormsafeError: two formats differ in ids, sentences or content characters.
    """
    found = {record["format"]: record for record in map(read_json, certificates)}
    first, *others = found
    for split, reference in found[first]["splits"].items():
        for name in others:
            for key in SHARED:
                if found[name]["splits"][split][key] != reference[key]:
                    raise FormsafeError(
                        f"The formats {first} and {name} do not carry the same content: {key} of the {split} split is "
                        f"{reference[key]} and {found[name]['splits'][split][key]}. "
                        "Delete the folders of both formats and run again."
                    )
    shared = {split: {key: counts[key] for key in SHARED} for split, counts in found[first]["splits"].items()}
    own = {
        key: {
            name: {split: counts[key] for split, counts in record["splits"].items()} for name, record in found.items()
        }
        for key in OWN
    }
    result = {"formats": list(found), "mismatches": 0, "splits": shared, **own, "token_counts": TOKEN_COUNTS}
    write_json(output, result)
    return result


def _rendered(format_: Format, examples: Sequence[Record], split: str) -> list[Rendered]:
    rendered, faults = [], []
    for example in examples:
        try:
            rendered.append(format_.render(example["sentences"]))
            fault = mismatch(format_, example["sentences"], rendered[-1])
        except FormatError as error:
            fault = f"cannot be written: {error}"
        if fault is not None:
            faults.append(f"{example['id']} ({fault})")
    if faults:
        raise FormsafeError(
            f"{len(faults):,} of {len(examples):,} examples of the {split} split do not survive the format "
            f"{format_.name}: {', '.join(faults[:5])}. A format must take any sentences of the corpus and give them "
            f"back: mend {format_module(format_.name)}."
        )
    return rendered


def _training_record(example: Record, rendered: Rendered) -> Record:
    messages = [
        {"role": "user", "content": example["instruction"]},
        {"role": "assistant", "content": rendered.text},
    ]
    return {"id": example["id"], "messages": messages, "spans": [list(span) for span in rendered.spans]}


def _counts(format_: Format, examples: list[Record], rendered: list[Rendered]) -> Record:
    contents = [content(format_, text) for text in rendered]
    written = sum(stop - start for text in rendered for start, stop, kind in text.spans if kind == "content")
    return {
        "examples": len(examples),
        "sentences": sum(len(example["sentences"]) for example in examples),
        "content_characters": sum(map(len, contents)),
        "content_characters_written": written,
        "format_characters": sum(len(text.text) for text in rendered) - written,
        "ids_digest": sha256("\n".join(example["id"] for example in examples)),
        "content_digest": sha256("\n".join(contents)),
        "sentences_digest": sha256("\n".join(json.dumps(example["sentences"]) for example in examples)),
    }


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
