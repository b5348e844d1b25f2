"""Names of runs: each tells what makes the run another than the rest."""

import pytest

from formsafe.analysis.roster import condition_of, names_from
from formsafe.core.records import NONE, Run
from tests import synthetic


def roster(runs, methods=None):
    return names_from({"demo": "Demo"}, methods or synthetic.methods(), [run.fields for run in runs])


@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        ([("0", NONE)], ["SFT JSON"]),
        ([("0", "5")], ["SFT JSON"]),
        ([("0", NONE), ("1", NONE)], ["SFT JSON seed 0", "SFT JSON seed 1"]),
        ([("0", "5"), ("1", "5")], ["SFT JSON seed 0", "SFT JSON seed 1"]),
        ([("0", NONE), ("0", "1"), ("0", "2")], ["SFT JSON", "SFT JSON data seed 1", "SFT JSON data seed 2"]),
        ([("1", "1"), ("2", "2")], ["SFT JSON seed 1 data seed 1", "SFT JSON seed 2 data seed 2"]),
    ],
)
def test_a_run_is_named_by_the_seeds_that_differ(draws, expected):
    runs = [Run("demo", "sft", "json", "5e-5", seed, data_seed) for seed, data_seed in draws]
    names = roster(runs)
    assert [names.run(run) for run in runs] == expected
    assert names.run(condition_of(runs[0])) == "SFT JSON"


def test_a_training_is_named_with_its_stage_and_a_soft_prompt_by_the_runs_that_share_it():
    draws = [("1", NONE), ("2", NONE), ("1", "100")]
    runs = [Run("demo", method, "json", "5e-5", seed, NONE, n) for method in ("sft", "promot") for seed, n in draws]
    names = roster(runs)
    assert [names.training(run) for run in runs[2:4]] == ["SFT JSON 100 examples", "ProMoT JSON seed 1 (stage 2)"]
    assert [names.training(run.without("method", "lr")) for run in runs[:3]] == [
        "soft prompt JSON seed 1 (stage 1)",
        "soft prompt JSON seed 2 (stage 1)",
        "soft prompt JSON 100 examples (stage 1)",
    ]
