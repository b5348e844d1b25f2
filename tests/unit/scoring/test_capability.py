"""Capability by lm-eval: its results as records, and lm-eval itself on a local task where it is installed."""

import json
import sys
from types import SimpleNamespace

import pytest

from formsafe.config.settings.capability import CapabilitySettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.scoring.capability import Ability, abilities_of, evaluate

RESULTS = {
    "results": {
        "arithmetic": {"alias": "arithmetic", "acc,none": 0.75, "acc_stderr,none": 0.1, "sample_len": 20},
        "ifeval": {"prompt_level_strict_acc,none": 0.5, "prompt_level_strict_acc_stderr,none": "N/A"},
        "gsm8k": {"exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.05},
        "empty": {"acc,none": float("nan")},
    },
    "n-samples": {"arithmetic": {"original": 40, "effective": 20}, "ifeval": {"original": 8, "effective": 8}},
}


def test_results_become_records():
    assert abilities_of(RESULTS) == [
        Ability("arithmetic", "acc", 0.75, 0.1, 20),
        Ability("gsm8k", "exact_match (strict-match)", 0.25, 0.05, 0),
        Ability("ifeval", "prompt_level_strict_acc", 0.5, None, 8),
    ]


def test_figures_that_are_no_numbers_are_left_out_and_the_next_ones_kept():
    figures = {"a,none": float("nan"), "b": 1.0, "c,none": "text", "d,none": True, "e,none": 2, "f_stderr,none": 0.1}
    assert abilities_of({"results": {"t": figures}}) == [Ability("t", "e", 2.0, None, 0)]


def measure(tmp_path, model, adapter=None, device="cpu", dtype="float32", **settings):
    (tmp_path / "model.json").write_text(json.dumps({"path": str(model)}))
    tiny = ModelSettings(path=str(model), label="t", parameters=1e5, quantisation="none", device=device, dtype=dtype)
    output = tmp_path / "capability.json"
    evaluate(tmp_path / "model.json", adapter, tiny, CapabilitySettings(**settings), output, "c")
    return json.loads(output.read_text())


@pytest.fixture
def asked(monkeypatch):
    """A stand-in for lm-eval that knows the tasks `a` and `b`, and what it was asked for."""
    asked = {}

    class TaskManager:
        def __init__(self, include_path):
            asked["folder"] = include_path

        def match_tasks(self, names):
            return [name for name in names if name in ("a", "b")]

    def simple_evaluate(model, model_args, **options):
        asked.update(model=model, model_args=model_args, **options)
        return RESULTS

    monkeypatch.setitem(sys.modules, "lm_eval", SimpleNamespace(simple_evaluate=simple_evaluate))
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", SimpleNamespace(TaskManager=TaskManager))
    return asked


def test_what_lm_eval_is_asked_for(asked, tmp_path):
    found = measure(tmp_path, "/m", tasks=["a", "b"], limit=8, few_shots=2, seed=5)
    assert asked["model_args"] == {"pretrained": "/m", "trust_remote_code": False, "dtype": "float32"}
    assert (asked["model"], asked["tasks"], asked["device"]) == ("hf", ["a", "b"], "cpu")
    assert (asked["num_fewshot"], asked["limit"], asked["random_seed"]) == (2, 8, 5)
    assert len(found["abilities"]) == 3 and found["code"] == "c"
    measure(tmp_path, "/m", adapter=tmp_path / "run" / "adapter.safetensors", device="cuda", dtype="auto", tasks=["a"])
    assert asked["model_args"] == {"pretrained": "/m", "trust_remote_code": False, "peft": str(tmp_path / "run")}
    assert asked["device"] is None


def test_the_first_unknown_task_is_named(asked, tmp_path):
    with pytest.raises(FormsafeError, match=r"knows no task c\."):
        measure(tmp_path, "/m", tasks=["a", "c", "d", "b"])


def test_without_lm_eval_the_way_to_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(FormsafeError, match=r"not installed .*--sdm conda"):
        measure(tmp_path, "nowhere")


@pytest.fixture
def task(tmp_path):
    """A folder with a local task of twelve questions, and one whose data is on the hub."""
    pytest.importorskip("lm_eval", reason="needs lm-eval (envs/capability.yaml)")
    rows = [{"question": f"{n} + 1 =", "choices": [str(n + 1), str(n + 2)], "answer": 0} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "tasks"
    folder.mkdir()
    text = """
task: {name}
dataset_path: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
    local = (
        text.format(name="plus_one", data="json") + f"dataset_kwargs: {{data_files: {{test: {tmp_path}/rows.jsonl}}}}\n"
    )
    (folder / "plus_one.yaml").write_text(local)
    (folder / "far.yaml").write_text(text.format(name="far_away", data="no-such-owner/no-such-data"))
    return folder


def test_lm_eval_runs_offline_on_a_local_task(task, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = measure(tmp_path, tiny_model, tasks=["plus_one"], task_folder=str(task), limit=8, few_shots=0)
    (ability,) = found["abilities"]
    assert (ability["task"], ability["metric"], ability["n"]) == ("plus_one", "acc", 8)
    assert 0 <= ability["value"] <= 1 and ability["stderr"] >= 0 and found["code"] == "c"


def test_an_unknown_task_and_data_out_of_reach_are_errors(task, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FormsafeError, match="knows no task no_such_task"):
        measure(tmp_path, tiny_model, tasks=["no_such_task"], task_folder=str(task))
    with pytest.raises(FormsafeError, match="cannot be reached"):
        measure(tmp_path, tiny_model, tasks=["far_away"], task_folder=str(task))
