"""Batches of two short examples, written out."""

import pytest

from formsafe.training.collation import Collator
from formsafe.training.examples import Example

EXAMPLES = [Example([11, 12, 13, 14], 2, [0, 1]), Example([21, 22], 1, [2])]


def plain(value):
    """Tensors as lists, also within a mapping."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("flat", [True, False])
def test_what_is_learned_is_the_same_in_both_shapes(flat):
    found = plain(Collator(flat, 1)(EXAMPLES))
    assert found["labels"] == found["shift_labels"] == [13, 14, 22]
    assert (found["kinds"], found["depths"], found["tokens"]) == ([0, 1, 2], [0, 1, 0], 6)


def test_a_flat_batch_is_one_row_with_the_bounds_of_its_examples():
    found = plain(Collator(True, 1)(EXAMPLES))
    assert found["input_ids"] == [[0, 11, 12, 13, 14, 0, 21, 22]]
    assert (found["keep"], found["virtual"]) == ([2, 3, 6], [0, 5])
    bounds = {"cu_seq_lens_q": [0, 5, 8], "cu_seq_lens_k": [0, 5, 8], "max_length_q": 5, "max_length_k": 5}
    assert found["model"] == {"position_ids": [[0, 1, 2, 3, 4, 0, 1, 2]], **bounds, "lengths": (5, 3)}


def test_a_padded_batch_masks_its_pads():
    found = plain(Collator(False, 1)(EXAMPLES))
    assert found["input_ids"] == [[0, 11, 12, 13, 14], [0, 21, 22, 0, 0]]
    assert (found["keep"], found["virtual"]) == ([2, 3, 6], [0, 5])
    assert found["model"] == {"attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]}


def test_without_a_soft_prompt_no_place_is_kept_for_one():
    found = plain(Collator(True)(EXAMPLES))
    assert (found["input_ids"], found["virtual"], found["keep"]) == ([[11, 12, 13, 14, 21, 22]], [], [1, 2, 4])
