"""Assumptions: the configuration, the judge prompt and the page say what the file says."""

import hashlib

import pytest
import yaml

from formsafe.config.assumptions import PAGE, assumption_rows, assumptions_page, read_assumptions, setting
from formsafe.core.errors import FormsafeError
from tests.conftest import ROOT

ENTRIES = read_assumptions(ROOT / "workflow/data/assumptions.yaml")
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
KEYED = [entry for entry in ENTRIES if entry["key"]]


@pytest.mark.parametrize("entry", KEYED, ids=[entry["choice"] for entry in KEYED])
def test_the_configuration_says_what_the_assumption_says(entry):
    try:
        found = setting(CONFIG, entry["key"])
    except FormsafeError:
        found = None  # a key that config.yaml leaves at its default
        assert entry["value"] is None
    assert found == entry["value"]


def test_the_judge_prompt_is_the_one_whose_hash_is_shown():
    (entry,) = [entry for entry in ENTRIES if "sha256" in entry]
    assert hashlib.sha256((ROOT / entry["value"]).read_bytes()).hexdigest() == entry["sha256"]


def test_every_mark_of_an_assumption_in_the_configuration_has_an_entry():
    marked = (ROOT / "config/config.yaml").read_text().count("# assumed")
    assert 0 < marked <= len(KEYED)
    assert len({entry["choice"] for entry in ENTRIES}) == len(ENTRIES)


def test_every_model_answers_in_the_same_precision():
    assert {model["inference_quantisation"] for model in CONFIG["models"].values()} == {"none"}


def test_the_page_is_made_from_the_file():
    assert (ROOT / PAGE).read_text() == assumptions_page(ENTRIES), "run `make schema`"


def test_what_a_study_changes_is_marked():
    entries = [
        {"choice": "A", "paper": "p", "ours": "o.", "key": "tasks.a", "value": 1},
        {"choice": "B", "paper": "p", "ours": "o.", "key": "tasks.b.0", "value": False},
        {"choice": "C", "paper": "p", "ours": "o.", "key": "models.c.x", "value": "v", "sha256": "0123456789abcdef"},
        {"choice": "D", "paper": "p", "ours": "o.", "key": None, "value": None},
    ]
    rows = assumption_rows(entries, {"tasks": {"a": 2, "b": [False]}, "models": {}})
    assert [row["In this study"] for row in rows] == ["CHANGED: 2", "as above", "not used", "as above"]
    assert rows[2]["Ours"] == "o. SHA-256 0123456789ab." and rows[3]["Where to change it"] == "in the code"
    assert {row["In this study"] for row in assumption_rows(entries)} == {"as above"}
