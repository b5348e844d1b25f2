"""The grid: which runs a configuration asks for, and how a run is written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formsafe.config.grid import adapter_run, enumerate_runs, learning_rate_id
from formsafe.config.settings.data import CorpusSettings, DataSource, Splits
from formsafe.config.settings.grid import Exclusion, GridBlock, MethodSettings
from formsafe.core.records import Run

OWN = CorpusSettings(
    source=DataSource(path="rows.jsonl"), licence="MIT", splits=Splits(train=100, validation=1, test=1), seed=0
)
METHODS = {
    "base": MethodSettings(label="Base", trained=False),
    "sft": MethodSettings(label="SFT"),
    "promot": MethodSettings(label="ProMoT", soft_prompt="tuned"),
    "promot_kept": MethodSettings(
        label="kept", soft_prompt="tuned", soft_prompt_at_inference=True, adapter_of="promot"
    ),
}


def block(**changes):
    settings = {
        "models": ["m"],
        "methods": ["base", "sft"],
        "formats": ["prose", "json"],
        "learning_rates": [5e-5],
        "seeds": [0],
    }
    return GridBlock(**{**settings, **changes})


@pytest.mark.parametrize(
    ("value", "text"),
    [(5e-5, "5e-5"), (1e-4, "1e-4"), (0.0035, "3.5e-3"), (0.1, "1e-1"), (1.0, "1e0"), (12.0, "1.2e1")],
)
def test_learning_rate_ids_are_short(value, text):
    assert learning_rate_id(value) == text


@given(st.floats(min_value=1e-12, max_value=1e3))
def test_learning_rate_ids_turn_back_exactly(value):
    assert float(learning_rate_id(value)) == value
    assert "/" not in learning_rate_id(value)


def test_a_block_is_a_cross_product_and_base_stands_once():
    assert enumerate_runs([block(seeds=[0, 1])], METHODS, OWN) == [
        Run("m", "base"),
        Run("m", "sft", "prose", "5e-5", "0"),
        Run("m", "sft", "prose", "5e-5", "1"),
        Run("m", "sft", "json", "5e-5", "0"),
        Run("m", "sft", "json", "5e-5", "1"),
    ]


def test_blocks_unite():
    assert enumerate_runs([block(), block(methods=["sft"])], METHODS, OWN) == enumerate_runs([block()], METHODS, OWN)


def test_exclude_drops_what_matches_all_its_keys():
    runs = enumerate_runs(
        [block(exclude=[Exclusion(format="json", learning_rate=5e-5), Exclusion(seed=7)])], METHODS, OWN
    )
    assert runs == [Run("m", "base"), Run("m", "sft", "prose", "5e-5", "0")]


def test_exclude_reaches_methods_that_are_not_trained():
    runs = enumerate_runs([block(exclude=[Exclusion(method="base")], formats=["json"])], METHODS, OWN)
    assert runs == [Run("m", "sft", "json", "5e-5", "0")]


def test_rows_are_an_axis_of_their_own():
    drawn = enumerate_runs([block(methods=["sft"], formats=["json"], data_seeds=[0, 3], seeds=[0, 1])], METHODS, OWN)
    assert [(run.seed, run.data_seed) for run in drawn] == [("0", "none"), ("0", "3"), ("1", "none"), ("1", "3")]


def test_each_training_may_draw_by_its_own_seed():
    drawn = enumerate_runs([block(methods=["sft"], formats=["json"], data_seeds="seed", seeds=[0, 1])], METHODS, OWN)
    assert [(run.seed, run.data_seed) for run in drawn] == [("0", "none"), ("1", "1")]


def test_numbers_of_examples_are_an_axis_and_the_studys_own_has_no_twin():
    blocks = [block(methods=["sft"], formats=["json"], examples=[50, 100]), block(methods=["sft"], formats=["json"])]
    assert [run.examples for run in enumerate_runs(blocks, METHODS, OWN)] == ["50", "none"]


def test_a_control_answers_with_the_adapter_of_another_method():
    kept = Run("m", "promot_kept", "json", "5e-5", "0")
    assert adapter_run(kept, METHODS) == Run("m", "promot", "json", "5e-5", "0")
    assert adapter_run(Run("m", "base"), METHODS) is None
