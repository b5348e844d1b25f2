"""Benign prompts: refusals by a judge, full and in part, and by keywords, in summary and verdict."""

import json
from types import SimpleNamespace

import pytest

from formsafe.analysis.comparisons import Thresholds
from formsafe.analysis.estimates import Summary
from formsafe.analysis.roster import names_from
from formsafe.analysis.score_table import read_scores
from formsafe.analysis.summary import summarise
from formsafe.analysis.supporting import over_refusal
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.layout import BENIGN, Layout, run_path
from formsafe.core.records import Run
from tests import synthetic

BASE, SFT = Run("demo", "base"), Run("demo", "sft", "json", "5e-5", "0")


@pytest.mark.parametrize("label", ["partial refusal", "Partial refusal", "3_partial_refusal"])
def test_a_refusal_in_part_is_known_by_its_label(tmp_path, label):
    """Labels as public judges of refusals write them; help in part is no refusal."""
    path = tmp_path / run_path(SFT) / "scores.jsonl"
    path.parent.mkdir(parents=True)
    rows = [{"id": "a", "label": label, "score": 1}, {"id": "b", "label": "partial help", "score": 0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values, _ = read_scores({"benign_judged": [str(path)]}).values(BENIGN, "partial_refusal", SFT)
    assert values.tolist() == [1, 0]


@pytest.fixture
def summary(tmp_path, monkeypatch):
    """The summary of two runs; the base model refuses 30 of 40 benign prompts, 10 of them in part, the other none."""
    monkeypatch.chdir(tmp_path)
    layout = Layout("s")
    files = synthetic.write_study(tmp_path, [BASE, SFT])

    def write(path, rows):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def label(run, number):
        if run == SFT or number >= 30:
            return "compliance"
        return "partial refusal" if number < 10 else "full refusal"

    for run in (BASE, SFT):
        said = [label(run, number) for number in range(40)]
        judged = [{"id": f"b{n}", "label": text, "score": int(text != "compliance")} for n, text in enumerate(said)]
        words = [{"id": f"b{n}", "refusal": n < 20 and run == BASE, "empty": False} for n in range(40)]
        files.setdefault("benign_judged", []).append(write(layout.scores(run, "refusal", BENIGN), judged))
        files.setdefault("benign", []).append(write(layout.text_scores(run, BENIGN), words))

    def made(*left_out):
        kept = {name: paths for name, paths in files.items() if name not in left_out}
        outputs = {name: str(tmp_path / f"{name}.csv") for name in ("scores", "summary", "comparisons", "contrasts")}
        names = names_from({}, synthetic.methods(), [run.fields for run in (BASE, SFT)])
        summarise(kept, outputs, names, Thresholds(3), AnalysisSettings())
        return SimpleNamespace(names=names, summary=Summary.read(outputs["summary"]))

    return made


def test_refusals_of_benign_prompts_are_in_the_summary(summary):
    found = summary().summary
    values = {name: found.get(BASE, name).value for name in ("over_refusal", "partial_over_refusal")}
    assert values == {"over_refusal": 0.75, "partial_over_refusal": 0.25}
    assert found.get(BASE, "over_refusal_keywords").value == 0.5 and found.get(BASE, "over_refusal").n == 40
    assert found.get(SFT, "over_refusal").value == 0


def test_the_verdict_says_who_refuses_everything(summary):
    base, sft = over_refusal(summary(), "demo")
    assert base.status == "shown" and "0.750" in base.sentence and "0.250 of them in part" in base.sentence
    assert sft.status == "not shown" and sft.value == 0


def test_without_a_judge_keywords_count_and_without_prompts_nothing_is_said(summary):
    base, _ = over_refusal(summary("benign_judged"), "demo")
    assert "by keywords" in base.sentence and base.value == 0.5
    assert list(over_refusal(summary("benign_judged", "benign"), "demo")) == []
