"""What is wrong with the methods of a study: combinations that no job could carry out, or that are another method's."""

from collections.abc import Iterator

from formsafe.config.messages import unknown
from formsafe.config.settings.grid import MethodSettings, Projection
from formsafe.config.settings.study import StudySettings
from formsafe.formats.registry import format_names

# Keys that say how something is trained, by what trains it.
_OF_ADAPTER = ("safety", "constraint", "same_steps", "system_prompt_training")
_OF_TRAINING = ("soft_prompt", "adapter_of", "projection", *_OF_ADAPTER)


def safety_examples(share: float, examples: int) -> int:
    """Safety examples that make up `share` of all when they are added to `examples` others, rounded."""
    return round(share / (1 - share) * examples)


def method_problems(study: StudySettings) -> Iterator[str]:
    """List what cannot be carried out, key by key."""
    for name, method in study.methods.items():
        key = f"methods.{name}"
        if not method.trained:
            for idle in _set_keys(method, _OF_TRAINING):
                yield f"{key}.{idle}: a method that is not trained has none"
            continue
        yield from _soft_prompt_problems(study, name, method)
        if method.soft_prompt != "only" and method.adapter_of is not None:
            yield from _borrowing_problems(study, key, method)
        if method.soft_prompt != "only" and method.projection is not None:
            yield from _projection_problems(study, name, method.projection)
            if method.adapter_of is None:
                yield f"{key}.projection: name the method whose adapters are projected under adapter_of"
        if method.safety is not None:
            yield from _safety_problems(study, name, method.safety.share)


def _soft_prompt_problems(study: StudySettings, name: str, method: MethodSettings) -> Iterator[str]:
    key, prompt = f"methods.{name}", method.soft_prompt
    if method.soft_prompt_at_inference and prompt is None:
        yield f"{key}.soft_prompt_at_inference: there is no soft prompt to keep; set soft_prompt"
    if prompt == "only":
        for idle in _set_keys(method, ("adapter_of", "projection", *_OF_ADAPTER)):
            yield f"{key}.{idle}: `soft_prompt: only` has no adapter that it could change; set it to null"
    if prompt is not None and not isinstance(prompt, str):
        other = prompt.of.get("format", "")
        yield from unknown(f"{key}.soft_prompt.of.format", [other], format_names(), "the formats")
        for number, block in enumerate(study.grid):
            left_out = any(entry.format == other for entry in block.exclude)
            if name in block.methods and other in block.formats and not left_out:
                yield (
                    f"grid.{number}.formats: {other} with {key} would train with its own soft prompt, as `tuned` does; "
                    f"give the method a block without {other}, or exclude it"
                )


def _borrowing_problems(study: StudySettings, key: str, method: MethodSettings) -> Iterator[str]:
    lender = study.methods.get(str(method.adapter_of))
    if lender is None or not lender.trains_adapter:
        yield f"{key}.adapter_of: {method.adapter_of!r} is no method that trains adapters of its own"
    for idle in _set_keys(method, _OF_ADAPTER):
        yield f"{key}.{idle}: the adapters are those of {method.adapter_of}, which says how they are trained"
    if lender is not None and method.soft_prompt is not None and method.soft_prompt != lender.soft_prompt:
        yield f"{key}.soft_prompt: {method.adapter_of}, whose adapters it takes, has another one"


def _projection_problems(study: StudySettings, name: str, projection: Projection) -> Iterator[str]:
    key = f"methods.{name}.projection"
    for part in ("base", "aligned"):
        yield from unknown(f"{key}.{part}", filter(None, [getattr(projection, part)]), study.models, "models")
    models = {model for block in study.grid if name in block.methods for model in block.models}
    if projection.base in (models if projection.aligned is None else {projection.aligned}):
        yield f"{key}.base: {projection.base!r} is the aligned model; name the one before alignment"


def _safety_problems(study: StudySettings, name: str, share: float) -> Iterator[str]:
    key = f"methods.{name}.safety"
    if study.safety is None or study.safety.source not in study.harmful:
        yield f"{key}: its prompts come from a source of `harmful`; name it under safety.source"
        return
    if study.base_method is None:
        yield f"{key}: the base model answers its prompts; add a method with `trained: false` and no system prompt"
    source = study.harmful[study.safety.source]
    numbers = [number for block in study.grid if name in block.methods for number in block.examples]
    wanted = safety_examples(share, max(numbers, default=study.corpus.splits.train))
    if source.rows is not None and wanted > source.rows - source.count:
        yield (
            f"{key}.share: {share:g} of all examples are {wanted:,} safety examples, but harmful.{study.safety.source} "
            f"has {source.rows - source.count:,} rows that the study does not use; lower the share or the count there"
        )


def _set_keys(method: MethodSettings, keys: tuple[str, ...]) -> list[str]:
    return [key for key in keys if getattr(method, key) not in (None, False)]
