"""Who generated the answers, in the verdict."""

import json

import pytest

from formsafe.analysis.answered import answered
from formsafe.core.layout import Layout
from formsafe.core.records import Run

VLLM = {"server_command": "/home/me/bin/vllm serve {model}", "server_versions": ["0.33.0"], "engine": "server"}
NEWER = VLLM | {"server_versions": ["0.33.0", "0.34.0"]}


@pytest.fixture
def metrics(tmp_path, monkeypatch):
    """Metrics of one run after the other, and of a judge behind a server, which answers nothing."""
    monkeypatch.chdir(tmp_path)

    def write(*described):
        layout, paths = Layout("s"), []
        for number, fields in enumerate(described):
            run = Run("m", "sft", "json", "1e-3", str(number))
            paths += [layout.answers_metrics(run), layout.judge_metrics(run, "j")]
            for path, content in zip(paths[-2:], (fields, {"server_model": "judge"}), strict=True):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_text(json.dumps(content))
        return paths

    return write


def test_a_study_without_a_server_has_no_finding(metrics):
    assert list(answered(metrics({}, {"device": "cpu"}))) == []


@pytest.mark.parametrize(
    ("described", "status", "parts"),
    [
        ((VLLM, VLLM), "shown", ["All answers", "2 runs by a server in the job (vllm serve {model}; version 0.33.0)."]),
        ((VLLM, {}), "not shown", ["not all", "1 run by a server in the job", "1 run by this workflow itself"]),
        ((VLLM, NEWER), "not shown", ["version 0.33.0)", "version 0.33.0, 0.34.0)"]),
        ((VLLM, VLLM | {"server_command": "x y"}), "not shown", ["(vllm serve {model};", "(x y;"]),
        (({"server_model": "gpt"},), "shown", ["1 run by a server (gpt)"]),
    ],
)
def test_a_server_is_named_and_a_mixture_is_not_passed_over(metrics, described, status, parts):
    (finding,) = answered(metrics(*described))
    assert finding.status == status
    for part in parts:
        assert part in finding.sentence
    assert finding.sentence.endswith("between the programs.") == (status == "not shown")
