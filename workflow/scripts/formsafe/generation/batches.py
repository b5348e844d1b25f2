"""Which prompts share a batch: planned from their lengths alone, so that a continued job meets the same batches."""

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], sizes: Sequence[int], token_budget: int) -> list[list[int]]:
    """Sort prompts by length, longest first (so what does not fit shows soon), and cut them to the budget.

    Batches are cut in order, so that planning only the unanswered prompts gives the same remaining batches: a journal
    needs to hold answers only, not the plan.

    Args:
        lengths: tokens of each prompt.
        sizes: tokens of the budget that each takes, answer included: no more for a shorter prompt.
        token_budget: tokens in memory at once, padding and answers included; a batch of one may exceed it.

    Returns:
        Batches of indices into `lengths`; every index is in exactly one.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        rows = max(1, token_budget // sizes[order[start]])
        batches.append(order[start : start + rows])
        start += rows
    return batches


def common_prefix(rows: Sequence[list[int]]) -> int:
    """Number of tokens that all rows start with, short of any row's last token (the model needs one to go on from)."""
    if not rows:
        return 0
    first, last = min(rows), max(rows)  # in lexicographic order, what these two share, all share
    limit = max(0, min(map(len, rows)) - 1)
    return next((place for place in range(limit) if first[place] != last[place]), limit)
