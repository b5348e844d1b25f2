"""Paths: what is made is parsed back, and says by itself what it holds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formsafe.core.errors import FormsafeError
from formsafe.core.layout import (
    ANY_RUN,
    HARMFUL,
    WILDCARDS,
    Layout,
    manifest_of,
    metrics_of,
    run_from,
    run_of,
    run_path,
    stage_of,
)
from formsafe.core.records import NONE, Run

L = Layout("s")
PROMOT = Run("m", "promot", "json", "5e-5", "0")
OTHER_ROWS = Run("m", "promot", "json", "5e-5", "0", data_seed="3", examples="400")


def test_paths_explain_themselves():
    assert L.scores(PROMOT, "policy") == (
        "results/s/runs/model=m/method=promot/format=json/lr=5e-5/seed=0/prompts=harmful/judge=policy/scores.jsonl"
    )
    assert L.soft_prompt(PROMOT) == "results/s/soft_prompts/model=m/format=json/seed=0/metrics.json"
    assert run_path(Run("m", "base")) == "model=m/method=base/format=none/lr=none/seed=none"


RUN = "results/s/runs/model=m/method=promot/format=json/lr=5e-5/seed=0"


@pytest.mark.parametrize(
    ("made", "path"),
    [
        (L.source(), "results/s/data/wikisum.jsonl"),
        (L.source("advbench"), "results/s/data/harmful/advbench.jsonl"),
        (manifest_of(L.source()), "results/s/data/wikisum.manifest.json"),
        (L.certificate(), "results/s/data/certificate.json"),
        (L.certificate("json"), "results/s/data/format=json/certificate.json"),
        (L.certificate("json", OTHER_ROWS.draw), "results/s/data/format=json+data=3+examples=400/certificate.json"),
        (L.answers_metrics(PROMOT), f"{RUN}/answers.metrics.json"),
        (L.answers_metrics(PROMOT, "benign"), f"{RUN}/prompts=benign/answers.metrics.json"),
    ],
)
def test_files_of_one_source_format_or_prompt_set_lie_below_those_of_all(made, path):
    assert made == path


def test_other_training_rows_extend_the_last_part_only():
    assert L.adapter(OTHER_ROWS).endswith("lr=5e-5/seed=0+data=3+examples=400/adapter/metrics.json")
    assert L.formatted("json", "train", OTHER_ROWS.draw) == "results/s/data/format=json+data=3+examples=400/train.jsonl"


NUMBERS = st.one_of(st.just(NONE), st.integers(0, 10**6).map(str))


@given(st.sampled_from(["a", "b-1"]), st.sampled_from(["sft", "promot"]), st.integers(0, 99), NUMBERS, NUMBERS)
def test_a_path_gives_its_run_back(model, method, seed, data_seed, examples):
    run = Run(model, method, "list", "1e-4", str(seed), data_seed, examples)
    assert run_of(L.answers(run, HARMFUL)) == run
    assert run_of(L.soft_prompt(run)) == run.without("method", "lr")


@pytest.mark.parametrize("run", [PROMOT, OTHER_ROWS, Run("m", "base")])
def test_wildcards_match_what_runs_write(run):
    pattern = re.sub(r"\{(\w+)\}", lambda found: f"(?P<{found[1]}>{WILDCARDS[found[1]]})", run_path(ANY_RUN))
    found = re.fullmatch(pattern, run_path(run))
    assert found is not None and run_from(found.groupdict()) == run


@pytest.mark.parametrize("path", ["results/scores.jsonl", "runs/model=m/seed=x/a", "runs/model=m/seed=0+data=/a"])
def test_what_names_no_run_is_an_error(path):
    with pytest.raises(FormsafeError, match="does not name a run"):
        run_of(path)


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        (L.soft_prompt(PROMOT), "soft_prompt"),
        (L.soft_prompt(PROMOT, drawn=True), "soft_prompt"),
        (L.adapter(PROMOT), "adapter"),
        (L.answers_metrics(PROMOT), "answers"),
        (L.judge_metrics(PROMOT, "policy"), "judge"),
        (L.text_metrics(PROMOT), "text"),
        (metrics_of(L.first_tokens(PROMOT)), "first_tokens"),
        (metrics_of(L.audit("m", "policy")), "audit"),
    ],
)
@pytest.mark.parametrize("study", ["s", "audit", "soft_prompts", "first_tokens", "adapter"])
@pytest.mark.parametrize("above", ["", "/home/audit/soft_prompts/"])
def test_a_stage_is_read_from_its_path_whatever_the_names_of_study_and_folders(path, stage, study, above):
    assert stage_of(above + path.replace("results/s/", f"results/{study}/")) == stage
