"""Other ways of transformers to decode the same batches: a static cache, compiled on a GPU, and continuous batching.

Both are greedy. Rows that have ended stay in a static cache to the end; continuous batching lets waiting rows take the
place of finished ones.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any, Literal

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

from formsafe.core.errors import FormsafeError
from formsafe.generation.decoding import Generated, pad_left
from formsafe.models import memory

LibraryCache = Literal["static", "continuous"]
_PAGE = 64  # tokens of a page of the continuous cache
_MOST_AT_ONCE = 2048  # tokens of a continuous batch's step: its attention mask has as many rows over the whole cache
_NO_ROOM = "Memory footprint"  # so opens its message when its cache is too large


def decode_by_library(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    cache: LibraryCache,
    new_tokens: int,
    stop_ids: Sequence[int],
    token_budget: int,
) -> list[Generated]:
    """Decode one batch of token rows greedily; the results are those of `decoding.decode`.

    Args:
        token_budget: tokens in memory at once; a batch for continuous batching may hold more, which wait.
    """
    generator: Any = model  # the stubs of transformers take these methods for tensors
    settings = {"max_new_tokens": new_tokens, "do_sample": False, "eos_token_id": list(stop_ids), "pad_token_id": 0}
    # generate fills in from the model's own configuration what ours leaves open: penalties, suppressed tokens, ...
    generator.generation_config = GenerationConfig(eos_token_id=list(stop_ids))
    if cache == "static":
        ids, mask = pad_left(rows, model.device)
        config = GenerationConfig(cache_implementation="static", **settings)
        # transformers makes every cache as long as the longest so far, whatever the batch was planned for
        vars(model).pop("_previous_max_cache_length", None)
        with torch.inference_mode():
            output = generator.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        written = output[:, ids.shape[1] :].tolist()
    else:
        written = _continuous(generator, rows, GenerationConfig(**settings), token_budget)
    return [_until_stop(ids, set(stop_ids)) for ids in written]


def _continuous(
    generator: Any, rows: Sequence[Sequence[int]], config: GenerationConfig, token_budget: int
) -> list[list[int]]:
    longest = max(len(row) for row in rows) + config.max_new_tokens
    pages = ceil(max(token_budget, 2 * longest) / _PAGE) + 1
    at_once = min(_MOST_AT_ONCE, max(256, token_budget // 8))
    paging = ContinuousBatchingConfig(
        page_size=_PAGE,
        num_blocks=pages,
        max_batch_tokens=at_once,
        auto_switch_to_flash=generator.dtype in (torch.float16, torch.bfloat16),  # flash attention has no fp32
    )
    outputs = generator.generate_batch(
        [list(row) for row in rows], generation_config=config, continuous_batching_config=paging, warmup=False
    )
    results = [outputs.get(f"req_{number}") for number in range(len(rows))]
    errors = [str(result.error) for result in results if result is not None and result.error is not None]
    if any(_NO_ROOM in error or memory.is_lacking(error) for error in errors):
        raise torch.OutOfMemoryError("continuous batching")
    if any(result is None or result.error is not None for result in results):
        raise FormsafeError(
            "Continuous batching of transformers failed (its reason is above). Set generation.cache to auto."
        )
    return [list(result.generated_tokens) for result in results]


def _until_stop(ids: list[int], stop_ids: set[int]) -> Generated:
    for place, token in enumerate(ids):
        if token in stop_ids:
            return Generated(ids[:place], stopped=True)
    return Generated(ids)
