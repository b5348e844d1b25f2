"""What a user gives beside the merged configuration: files with a key twice, `--config`, names of files."""

from pathlib import Path

import pytest

from formsafe.config.given import (
    model_presets,
    nested_settings,
    require_known_targets,
    require_unique_keys,
    with_presets,
)
from formsafe.config.loading import load_study
from formsafe.core.errors import FormsafeError
from tests.unit.config.test_config import ROOT, merged, raw

RUN = "results/paper/runs/model=llama-2-7b-chat/method=sft/format=json/lr=5e-5/seed=0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "my.yaml, line 3: a: is there twice, first in line 1"),
        ("a: {b: 1, c: 2, b: 3}\n", "line 1: a.b: is there twice"),
        ("a:\n  - {x: 1}\n  - {x: 1,\n     x: 2}\n", "line 4: a.1.x: is there twice, first in line 3"),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_lines(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(FormsafeError) as refused:
        require_unique_keys(["my.yaml"])
    assert said in str(refused.value)


def test_the_same_key_in_two_sections_and_an_empty_file_are_fine(tmp_path):
    (tmp_path / "a.yaml").write_text("a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 1}]\n")
    (tmp_path / "b.yaml").write_text("")
    require_unique_keys([tmp_path / "a.yaml", tmp_path / "b.yaml", *(ROOT / "config").rglob("*.yaml")])


def test_nested_values_of_the_command_line_are_what_yaml_means():
    given = ['judges={"policy": {"threshold": 4}}', "grid=[{seeds: [0, 1]}]", "study=x", "partial=true", "title=a=b"]
    assert nested_settings(given) == {"judges": {"policy": {"threshold": 4}}, "grid": [{"seeds": [0, 1]}]}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (RUN.replace("5e-5", "5e-05"), "write the learning rate 5e-05 as 5e-5"),
        (RUN.replace("5e-5", "0.00005"), "write the learning rate 0.00005 as 5e-5"),
        (RUN.replace("5e-5", "50e-6"), "as 5e-5"),
        (RUN.replace("5e-5", "0"), "'0' is not a learning rate"),
        (RUN.replace("5e-5", "fast"), "'fast' is not a learning rate"),
        (RUN.replace("llama-2-7b-chat", "nosuch"), "there is no model 'nosuch', only llama-2-7b-chat"),
        (RUN.replace("sft", "nosuch"), "there is no method 'nosuch'"),
        (RUN.replace("json", "nosuch"), "there is no format 'nosuch'"),
        (f"{RUN}/prompts=harmful/judge=nosuch/scores.jsonl", "there is no judge 'nosuch'"),
        ("results/demo/summary.csv", "belongs to the study 'demo'"),
    ],
)
def test_another_spelling_or_name_in_a_target_is_refused_in_one_line(target, said):
    with pytest.raises(FormsafeError) as refused:
        require_known_targets([target], load_study(raw("config.yaml")))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_targets_of_the_study_are_known():
    good = [RUN, f"{RUN}+data=1/prompts=harmful/judge=policy/scores.jsonl", "results/paper/data/format=json+data=1/x"]
    base = "results/paper/runs/model=llama-2-7b-chat/method=base/format=none/lr=none/seed=none/manifest.json"
    require_known_targets([*good, base, "results/paper/summary.csv"], load_study(raw("config.yaml")))


def test_a_study_changes_drops_and_adds_to_the_presets():
    given = raw("config.yaml", "families.yaml")
    changes = {
        "qwen3-8b": {"thinking": True},
        "smollm3-3b": None,
        "mine": {"label": "Mine", "path": "m", "parameters": 1e6},
    }
    models = with_presets(given["models"] | changes, ROOT / "config/models")
    assert models["qwen3-8b"] == model_presets(ROOT / "config/models")["qwen3-8b"] | {"thinking": True}
    assert {"llama-3.1-8b-instruct", "gemma-3-4b-it", "mine"} < set(models)
    with pytest.raises(FormsafeError, match=r"grid.0.models: 'smollm3-3b' is not in models"):
        load_study(given | {"models": models})
    study = load_study(given | {"models": with_presets(given["models"], ROOT / "config/models")})
    assert study.models["granite-3.3-8b-instruct"].hub.repo == "ibm-granite/granite-3.3-8b-instruct"
    # What is no section is for the checks of the configuration, which name its key.
    assert with_presets("qwen3-8b", ROOT / "config/models") == "qwen3-8b"


def test_a_file_of_presets_that_is_no_model_is_named(tmp_path):
    (tmp_path / "good.yaml").write_text("label: Good\n")
    assert model_presets(tmp_path) == {"good": {"label": "Good"}}
    for name, text in {"broken": b"label: [Bad", "empty": b"", "list": b"- label", "binary": b"\xff\xfe\xff"}.items():
        (tmp_path / f"{name}.yaml").write_bytes(text)
    with pytest.raises(FormsafeError) as refused:
        model_presets(tmp_path)
    lines = str(refused.value).splitlines()[1:]
    assert [Path(line.strip().split(": ")[0]).stem for line in lines] == ["binary", "broken", "empty", "list"]
    assert "line 1" in lines[1] and "must be the section of a model" in lines[2]


def problems(overlay) -> str:
    with pytest.raises(FormsafeError) as refused:
        load_study(merged(raw("config.yaml"), overlay))
    return str(refused.value)


def test_what_is_there_twice_or_absurd_is_an_error():
    block = raw("config.yaml")["grid"][0]
    assert "grid.0.seeds: 0 is there twice" in problems({"grid": [block | {"seeds": [0, 1, 0]}]})
    assert "grid.0.learning_rates: 5e-05 is there twice" in problems({"grid": [block | {"learning_rates": [5e-5] * 2}]})
    assert "grid.0.learning_rates.0: must be less than 1" in problems(
        {"grid": [block | {"learning_rates": [5.0]}]}
    ).replace("Input should be", "must be")
    same = {"models": {"llama-2-7b-chat": {"label": "Llama-3.1-8B-Instruct"}}}
    assert "models.llama-3.1-8b-instruct.label: 'Llama-3.1-8B-Instruct' is also the label of" in problems(same)
    assert "methods.sft.label: 'Base' is also the label of base" in problems({"methods": {"sft": {"label": "Base"}}})


def test_what_determines_no_result_is_not_tracked_and_comes_back_in_the_job():
    """Rules take `model_dump()` as parameters; jobs need labels for messages and sizes for memory plans."""
    from formsafe.config.settings.base import restored

    given = raw("config.yaml")
    study = load_study(given)
    tracked = {
        "models.llama-2-7b-chat": ({"label", "parameters", "licence"}, study.models["llama-2-7b-chat"]),
        "corpus": ({"licence", "rows", "instruction_by_format"}, study.corpus),
        "harmful.advbench": ({"licence", "rows"}, study.harmful["advbench"]),
        "training": ({"checkpoint_minutes", "micro_batch_size", "gradient_checkpointing", "report_to"}, study.training),
    }
    for key, (left_out, settings) in tracked.items():
        section = given
        for part in key.split("."):
            section = section[part]
        dumped = settings.model_dump()
        assert set(type(settings).model_fields) - set(dumped) == left_out, key
        assert restored(type(settings), dumped, section) == settings
        assert restored(type(settings), dumped, section | dict.fromkeys(set(dumped) & {"dtype"}, "other")) == settings
