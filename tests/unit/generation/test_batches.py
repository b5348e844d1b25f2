"""Batches are a function of the lengths alone, fit the budget, and go on where they were left."""

from hypothesis import given
from hypothesis import strategies as st

from formsafe.generation.batches import common_prefix
from formsafe.generation.batches import plan_batches as batches_of_sizes

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


def plan_batches(lengths, new_tokens, budget):
    return batches_of_sizes(lengths, [length + new_tokens for length in lengths], budget)


@given(LENGTHS, st.integers(1, 50), st.integers(1, 800))
def test_every_prompt_stands_in_one_batch_and_batches_fit(lengths, new_tokens, budget):
    batches = plan_batches(lengths, new_tokens, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * (max(lengths[i] for i in batch) + new_tokens) <= budget


@given(LENGTHS, st.integers(1, 50), st.integers(1, 800))
def test_no_batch_has_room_for_one_more(lengths, new_tokens, budget):
    batches = plan_batches(lengths, new_tokens, budget)
    for batch in batches[:-1]:
        assert (len(batch) + 1) * (lengths[batch[0]] + new_tokens) > budget


@given(LENGTHS, st.integers(1, 50), st.integers(1, 800), st.data())
def test_the_plan_of_what_is_left_is_what_is_left_of_the_plan(lengths, new_tokens, budget, data):
    batches = plan_batches(lengths, new_tokens, budget)
    done = data.draw(st.integers(0, len(batches)))
    finished = {index for batch in batches[:done] for index in batch}
    left = [index for index in range(len(lengths)) if index not in finished]
    again = plan_batches([lengths[index] for index in left], new_tokens, budget)
    assert [[left[place] for place in batch] for batch in again] == batches[done:]


def test_longest_first_and_equal_lengths_in_order():
    assert plan_batches([3, 9, 3, 9, 1], 1, 20) == [[1, 3], [0, 2, 4]]
    assert batches_of_sizes([3, 9, 4], [10, 10, 10], 20) == [[1, 2], [0]], "sizes may be equal where lengths are not"


def test_an_empty_row_shares_nothing():
    assert common_prefix([[], [1]]) == common_prefix([[]]) == 0


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=6))
def test_common_prefix_is_the_longest_that_leaves_every_row_a_token(rows):
    shared = common_prefix(rows)
    if not rows:
        assert shared == 0
        return
    assert all(row[:shared] == rows[0][:shared] and len(row) > shared for row in rows)
    longer = shared + 1
    assert not all(row[:longer] == rows[0][:longer] and len(row) > longer for row in rows)
