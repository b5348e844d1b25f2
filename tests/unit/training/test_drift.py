"""How far a training moved the predictions: each position's mean by hand, over examples of every length."""

import pytest
import torch

from formsafe.models.load import Placement, load_adapter, load_model, load_tokenizer
from formsafe.training.collation import Collator
from formsafe.training.drift import kl_to_base
from formsafe.training.examples import tokenise
from formsafe.training.stages import Inputs, train_adapter
from formsafe.training.trainer import divergence, target_logits
from tests.tiny import steeper, write_tiny_model
from tests.training_cases import adapter_settings, job, write_rows

CPU = Placement("cpu", "float32", "none", "sdpa")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A base model's folder, and an adapter that moved its predictions."""
    folder = tmp_path_factory.mktemp("drift")
    model = steeper(write_tiny_model(folder / "model"))
    inputs = Inputs(**job(folder / "job", model))
    train_adapter(inputs, adapter_settings(), 3e-2)
    return model, inputs.folder


def by_hand(model, adapted, examples):
    """The divergence at each position of each response, one example at a time."""
    found = []
    for example in examples:
        batch = Collator(False)([example])
        with torch.no_grad():
            ours, theirs = (target_logits(each, each.get_input_embeddings(), batch, None) for each in (adapted, model))
        found.append(divergence(ours, theirs).tolist())
    return found


@pytest.mark.parametrize(("words", "count"), [((2, 9), 6), ((1, 3), 5)], ids=["longer than 32", "shorter than 32"])
def test_a_position_has_the_mean_of_the_examples_that_reach_it(trained, tmp_path, words, count):
    folder, adapter = trained
    tokenizer = load_tokenizer(folder)
    rows = write_rows(tmp_path / "rows.jsonl", count, seed=3, words=words)
    examples = tokenise(rows, tokenizer, [tokenizer.eos_token_id], max_length=512, tolerance=0).rows
    adapted = load_adapter(load_model(folder, CPU), adapter)
    each = by_hand(load_model(folder, CPU), adapted, examples)
    longest = max(map(len, each))
    alone = sum(len(values) == longest for values in each)
    assert (longest > 33) == (words == (2, 9)) and (words == (2, 9) or alone == 1), "one example reaches the end alone"
    means = []
    for place in range(min(32, longest)):
        reaching = [values[place] for values in each if len(values) > place]
        means.append(sum(reaching) / len(reaching))
    found = kl_to_base(adapted, examples, False, torch.device("cpu"))
    assert found == pytest.approx(means, rel=1e-4, abs=2e-6) and max(found) > 1e-3
    assert found == [round(value, 6) for value in found] and any(round(value, 5) != value for value in found)
