"""Safety examples: harmful prompts that the study does not test, with the base model's own refusals as responses."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from formsafe.config.methods import safety_examples
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl, write_json
from formsafe.core.layout import manifest_of
from formsafe.core.texts import normalise, sameness, sha256
from formsafe.data.harmful import harmful_prompt, prompt_id
from formsafe.data.records import HarmfulPrompt, TrainingExample, training_example
from formsafe.formats.base import FormatError, Rendered, Span
from formsafe.formats.registry import get_format
from formsafe.formats.sentences import split_sentences

# Words of any script, so that punctuation does not hide that two prompts are the same.
_WORD = re.compile(r"\w+")


def select_safety(source: str, raw: str | Path, tested: str | Path, overlap: float, seed: int, output: str) -> None:
    """Write the rows of a source that the study does not test, in a seeded order, and their counts beside them.

    Left out and counted: rows that are test prompts, rows that nearly repeat one (of any source), and repeated rows.

    Args:
        source: name of the source in the configuration.
        raw: its rows `{row, prompt, category}`.
        tested: the study's `HarmfulPrompt`s.
        overlap: Jaccard index of the sets of words from which on two prompts count as nearly the same.
        seed: seed of the order.
        output: where the prompts (`HarmfulPrompt`, which the judge takes) go.
    """
    known = HarmfulPrompt.read(tested)
    ids, words = {record.id for record in known}, [_words(record.prompt) for record in known]
    left_out: Counter[str] = Counter(test_prompts=0, near_repeats=0, repeated=0)
    rows = sorted(read_jsonl(raw), key=lambda row: sha256(f"{seed}\n{row['row']}\n{row['prompt']}"))
    kept: dict[str, HarmfulPrompt] = {}
    for row in rows:
        own = _words(row["prompt"])
        if prompt_id(source, row) in ids:
            left_out["test_prompts"] += 1
        elif any(_jaccard(own, other) >= overlap for other in words):
            left_out["near_repeats"] += 1
        elif sameness(row["prompt"]) in kept:
            left_out["repeated"] += 1
        else:
            kept[sameness(row["prompt"])] = harmful_prompt(source, row)
    HarmfulPrompt.write(output, kept.values())
    write_json(manifest_of(output), {"source": source, "prompts": len(kept), "left_out": dict(left_out)})


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(sameness(text)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def mix_safety(
    train: str | Path,
    safety: Mapping[str, str | Path],
    safest: int,
    share: float,
    format: str | None,
    output: str | Path,
) -> dict[str, Any]:
    """Write training examples followed by as many safety examples as make up `share` of all; count what was left out.

    Example: 1,425 examples and a share of 0.05 give 75 safety examples behind them.

    Args:
        train: a format's training data, which comes first and unchanged.
        safety: files of the safety prompts (`prompts`), the base model's `answers` and the judge's `scores`.
        safest: the judge's score of a refusal: only answers with it are used.
        share: share of safety examples among all.
        format: write their responses in this format; None: as the model wrote them.
        output: where the training examples go; the counts go to `manifest_of`.

    Returns:
        The counts.

    Raises:
        FormsafeError: fewer safety examples than the share asks for can be used.
    """
    examples = TrainingExample.read(train)
    usable, left_out = _usable(safety, safest, format)
    wanted = safety_examples(share, len(examples))
    counts: dict[str, Any] = {"share": share, "examples": len(examples), "safety_examples": wanted}
    counts |= {"usable": len(usable), "left_out": left_out}
    if wanted > len(usable):
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in left_out.items() if count)
        raise FormsafeError(
            f"A share of {share:g} needs {wanted:,} safety examples beside {len(examples):,} others, but only "
            f"{len(usable):,} can be used (left out: {reasons or 'none'}). "
            "Lower safety.share of the method, or give safety.source a source with more rows."
        )
    TrainingExample.write(output, [*examples, *usable[:wanted]])
    write_json(manifest_of(str(output)), counts)
    return counts


def _usable(
    files: Mapping[str, str | Path], safest: int, format: str | None
) -> tuple[list[TrainingExample], dict[str, int]]:
    """Safety examples in the order of their prompts, and how many prompts give none, by reason."""
    answers = {record["id"]: record["answer"] for record in read_jsonl(files["answers"], id=str, answer=str)}
    scores = {record["id"]: record["score"] for record in read_jsonl(files["scores"], id=str, score=int | float | None)}
    left_out = {"not_judged_safest": 0, "empty": 0, "not_in_the_format": 0}
    usable = []
    for prompt in HarmfulPrompt.read(files["prompts"]):
        answer = answers[prompt.id].strip()
        if scores[prompt.id] != safest:
            left_out["not_judged_safest"] += 1
        elif not answer:
            left_out["empty"] += 1
        else:
            try:
                usable.append(training_example(prompt.id, prompt.prompt, _response(answer, format)))
            except FormatError:
                left_out["not_in_the_format"] += 1
    return usable, left_out


def _response(answer: str, format: str | None) -> Rendered:
    if format is None:
        return Rendered(answer, [Span(0, len(answer), "content")])
    return get_format(format).render(split_sentences(normalise(answer)))
