"""The grid: which runs a configuration asks for, and how a run is written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formsafe.config.grid import Run, adapter_run, enumerate_runs, learning_rate_id
from formsafe.config.settings.grid import Exclusion, GridBlock, MethodSettings

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
    assert enumerate_runs([block(seeds=[0, 1])], METHODS) == [
        Run("m", "base"),
        Run("m", "sft", "prose", "5e-5", "0"),
        Run("m", "sft", "prose", "5e-5", "1"),
        Run("m", "sft", "json", "5e-5", "0"),
        Run("m", "sft", "json", "5e-5", "1"),
    ]


def test_blocks_unite():
    assert enumerate_runs([block(), block(methods=["sft"])], METHODS) == enumerate_runs([block()], METHODS)


def test_exclude_drops_what_matches_all_its_keys():
    runs = enumerate_runs([block(exclude=[Exclusion(format="json", learning_rate=5e-5), Exclusion(seed=7)])], METHODS)
    assert runs == [Run("m", "base"), Run("m", "sft", "prose", "5e-5", "0")]


def test_exclude_reaches_methods_that_are_not_trained():
    runs = enumerate_runs([block(exclude=[Exclusion(method="base")], formats=["json"])], METHODS)
    assert runs == [Run("m", "sft", "json", "5e-5", "0")]


def test_paths_explain_themselves():
    run = Run("m", "promot", "json", "5e-5", "0")
    assert run.path == "model=m/method=promot/format=json/lr=5e-5/seed=0"
    assert run.soft_prompt_path == "model=m/format=json/seed=0"
    assert Run("m", "base").path == "model=m/method=base/format=none/lr=none/seed=none"


def test_a_control_answers_with_the_adapter_of_another_method():
    kept = Run("m", "promot_kept", "json", "5e-5", "0")
    assert adapter_run(kept, METHODS) == Run("m", "promot", "json", "5e-5", "0")
    assert adapter_run(Run("m", "base"), METHODS) is None
