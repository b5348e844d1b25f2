"""Dropout by gaps drops as independent trials would."""

import pytest
import torch

from formsafe.training.sparse_dropout import SparseDropout, dropped_places, replace_dropout


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.5, 0.9])
def test_places_are_those_of_independent_trials(rate):
    torch.manual_seed(0)
    elements, draws = 400, 600
    counts = torch.zeros(elements)
    numbers, neighbours = [], 0
    for _ in range(draws):
        places = dropped_places(elements, rate)
        assert len(places) == len(places.unique()) and (not len(places) or int(places.max()) < elements)
        counts[places] += 1
        numbers.append(len(places))
        neighbours += int((places.diff() == 1).sum())
    trials = elements * draws

    def near(observed, expected, variance):
        return abs(observed - expected) < 5 * variance**0.5

    assert near(sum(numbers), trials * rate, trials * rate * (1 - rate))
    spread = torch.tensor(numbers, dtype=torch.float64).var().item()
    assert spread == pytest.approx(elements * rate * (1 - rate), rel=0.25)
    pairs = (elements - 1) * draws
    assert near(neighbours, pairs * rate**2, 3 * pairs * rate**2)
    first, last = counts[:20].sum().item(), counts[-20:].sum().item()  # no drift from one end to the other
    assert near(first, 20 * draws * rate, 20 * draws * rate) and near(last, 20 * draws * rate, 20 * draws * rate)


def test_gaps_are_drawn_until_they_reach_the_end(monkeypatch):
    """Gaps of 1 and 3 again and again, in draws that are too small: each goes on from the last place."""
    gaps = 1 - (1 - 0.25) ** (torch.tensor([1.0, 3.0], dtype=torch.float64) - 0.5)  # within each gap's range
    monkeypatch.setattr(torch, "rand", lambda draws, dtype: gaps.clone())
    assert dropped_places(11, 0.25).tolist() == [0, 3, 4, 7, 8]
    assert dropped_places(12, 0.25).tolist() == [0, 3, 4, 7, 8, 11]


def test_kept_elements_are_scaled_and_gradients_follow_the_same_mask():
    torch.manual_seed(0)
    features = torch.ones(50, 40, requires_grad=True)
    dropped = SparseDropout(0.2)(features)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    dropped.backward(torch.full_like(dropped, 2.0))
    assert torch.equal(features.grad, 2 * dropped.detach())
    assert torch.equal(features.detach(), torch.ones(50, 40)), "the input is left alone"


def test_it_replaces_dropout_that_drops_and_is_the_identity_in_evaluation():
    rates = {"a": 0.1, "none": 0.0, "all": 1.0}
    model = torch.nn.ModuleDict({name: torch.nn.Dropout(rate) for name, rate in rates.items()})
    replace_dropout(model)
    assert isinstance(model["a"], SparseDropout)
    assert isinstance(model["none"], torch.nn.Dropout) and isinstance(model["all"], torch.nn.Dropout)
    features = torch.randn(3, 4)
    assert model.eval()["a"](features) is features
