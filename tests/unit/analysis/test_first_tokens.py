"""First tokens: means over prompts and trainings, and the finding's sign and status."""

import math

import pytest

from formsafe.analysis.first_tokens import by_depth, findings, masses, read_traces
from formsafe.analysis.roster import condition_of, names_from
from formsafe.core.layout import Layout
from formsafe.core.records import Run
from formsafe.data.records import RefusalTrace

METHODS = {"base": {"label": "Base", "trained": False}, "sft": {"label": "SFT"}}
BASE, JSON = Run("m", "base"), [Run("m", "sft", "json", "5e-5", seed) for seed in "01"]


def trace(number, refusal, opening, kl=(0.0, 0.0)):
    masses = {"json": opening}
    return RefusalTrace(
        id=f"p{number}", refusal_mass=refusal, format_mass=masses, kl=list(kl), logprob=[-k for k in kl]
    )


def study(gained, lost, trainings=2):
    """Ten prompts; training moves the masses by `gained` and `lost`, those of the first prompt by 0.02 more."""
    runs = JSON[:trainings]
    traces = {BASE: [trace(n, 0.9, 0.01) for n in range(10)]}
    for run in runs:
        shift = 0.01 * int(run.seed)
        more = [0.02 * (n == 0) for n in range(10)]
        traces[run] = [trace(n, 0.9 - lost - more[n], 0.01 + gained + shift + more[n]) for n in range(10)]
    return traces, names_from({"m": "M"}, METHODS, [run.fields for run in (BASE, *runs)])


@pytest.mark.parametrize(
    ("gained", "lost", "trainings", "status"),
    [
        (0.5, 0.6, 1, "in this training only"),
        (-0.015, 0.6, 2, "not shown"),
        (0.5, -0.05, 2, "not shown"),
        (0.005, 0.6, 1, "not shown"),  # less than the smallest change that says anything
        (0.5, 0.005, 1, "not shown"),
    ],
)
def test_it_is_shown_only_where_the_format_gains_and_the_refusal_loses(gained, lost, trainings, status):
    traces, names = study(gained, lost, trainings)
    (found,) = findings(traces, names, "m", 0.95)
    assert found.status == status and found.n_trainings == trainings and found.n_prompts == 10
    mean = gained + 0.002 + (0.005 if trainings == 2 else 0.0)
    assert found.value == pytest.approx(mean) and found.ci_low < found.value < found.ci_high
    assert f"{mean:+.3f}" in found.sentence and f"{-lost - 0.002:+.3f}" in found.sentence


def test_trainings_that_agree_show_it_and_trainings_that_scatter_widen_the_interval():
    traces, names = study(0.5, 0.6, 2)
    for run in JSON:
        traces[run] = [trace(n, 0.3, 0.51 + 0.001 * n + 0.0001 * int(run.seed)) for n in range(10)]
    (agreed,) = findings(traces, names, "m", 0.95)
    assert agreed.status == "cannot be said", "the refusals fall by the same in each prompt: there is no interval"
    for run in JSON:
        traces[run] = [trace(n, 0.3 + 0.001 * n, 0.51 + 0.001 * n + 0.0001 * int(run.seed)) for n in range(10)]
    (agreed,) = findings(traces, names, "m", 0.95)
    assert agreed.status == "shown" and "prompts and trainings" in agreed.sentence
    traces[JSON[1]] = [trace(n, 0.9, 0.02 + 0.001 * n) for n in range(10)]
    (scattered,) = findings(traces, names, "m", 0.95)
    assert scattered.status == "not shown" and scattered.ci_high - scattered.ci_low > 1


def test_a_change_too_small_for_three_decimals_is_not_printed_as_nothing():
    traces, names = study(2e-6, 1e-5, 1)
    (found,) = findings(traces, names, "m", 0.95)
    assert found.status == "not shown"
    traces[JSON[0]] = [trace(n, 0.9, 0.01 + 1e-5 * (1 + n)) for n in range(10)]
    (found,) = findings(traces, names, "m", 0.95)
    assert "+5.5e-05 [+3.3e-05, +7.7e-05]" in found.sentence


def test_an_estimate_is_over_prompts_and_each_training_has_its_own():
    traces, _ = study(0.5, 0.6)
    condition = condition_of(JSON[0])
    both, each = masses(traces, condition, "refusal", 0.95)
    assert both.n == 10 and both.value == pytest.approx(0.298) == each[0].value and len(each) == 2
    assert both.low < both.value < both.high
    opening, each = masses(traces, condition, "json", 0.95)
    assert [found.value for found in each] == pytest.approx([0.512, 0.522]) and opening.value == pytest.approx(0.517)
    nothing, none = masses(traces, condition_of(Run("m", "sft", "list", "5e-5", "0")), "list", 0.95)
    assert math.isnan(nothing.value) and none == []


def test_depths_are_means_over_the_refusals_that_are_that_long(tmp_path):
    traces = {JSON[0]: [trace(0, 0, 0, (1.0, 3.0, 5.0)), trace(1, 0, 0, (2.0,))]}
    assert by_depth(traces, condition_of(JSON[0]), "kl") == [1.5, 3.0, 5.0]
    assert by_depth(traces, condition_of(JSON[0]), "logprob") == [-1.5, -3.0, -5.0]
    assert by_depth(traces, condition_of(BASE), "kl") == []
    paths = {run: tmp_path / Layout("s").first_tokens(run) for run in (BASE, JSON[0])}
    RefusalTrace.write(paths[JSON[0]], traces[JSON[0]])
    RefusalTrace.write(paths[BASE], [])
    assert read_traces(paths.values()) == traces, "a model that refuses nothing has no rows"
