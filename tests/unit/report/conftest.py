"""One study for the tests of figures, tables and pages."""

import pytest

from tests import synthetic
from tests.unit.report.made import SWEEP, Made, make


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Made:
    """The demo's shape, with the main model's name so that the paper has numbers for it."""
    runs = synthetic.grid(extra=SWEEP)
    return make(tmp_path_factory.mktemp("study"), runs, models={"demo": "Llama-3.1-8B-Instruct"})
