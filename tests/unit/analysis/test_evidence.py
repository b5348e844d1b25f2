"""What a condition rests on: its own training, the one that it borrows, and the soft prompt of either."""

import pytest

from formsafe.analysis.evidence import Evidence
from formsafe.analysis.roster import condition_of, names_from
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.config.settings.grid import MethodSettings
from formsafe.core.records import Run
from tests.unit.analysis.rows import UNKNOWN, curve

METHODS = {
    "sft": {},
    "promot": {"soft_prompt": "tuned"},
    "random": {"soft_prompt": "random"},
    "other": {"soft_prompt": {"of": {"format": "list"}}},
    "joint": {"soft_prompt": "joint"},
    "borrowed": {"adapter_of": "promot"},
    "borrowed_other": {"adapter_of": "other"},
    "borrowed_sft": {"adapter_of": "sft", "system_prompt_test": "Be safe."},
}
ADAPTERS = {name: Run("demo", name, "json", "5e-5", "0") for name in METHODS}
STAGE_1 = {name: Run("demo", "none", name, "none", "0") for name in ("json", "list")}


def failed_after(training: Run) -> set[str]:
    """The methods on JSON that prove nothing where the loss of this training did not fall."""
    settings = {name: MethodSettings(label=name, **given).model_dump() for name, given in METHODS.items()}
    names = names_from({}, settings, [run.fields for run in ADAPTERS.values()])
    evidence = Evidence({}, names, AnalysisSettings(), {})
    fields = vars(curve("sft", halfway=UNKNOWN)) | training.fields
    vars(evidence)["curves"] = [type(curve("sft"))(**fields)]
    return {name for name, run in ADAPTERS.items() if evidence.failed(condition_of(run))}


@pytest.mark.parametrize(
    ("training", "resting"),
    [
        (STAGE_1["json"], {"promot", "random", "borrowed"}),
        (STAGE_1["list"], {"other", "borrowed_other"}),
        (ADAPTERS["promot"], {"promot", "borrowed"}),
        (ADAPTERS["sft"], {"sft", "borrowed_sft"}),
        (ADAPTERS["joint"], {"joint"}),
    ],
)
def test_a_training_that_failed_takes_with_it_what_rests_on_it(training, resting):
    assert failed_after(training) == resting
