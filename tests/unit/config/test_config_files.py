"""Paths that a configuration names: a wrong one is an error that says which key holds it."""

import json

import pytest

from formsafe.config.files import require_files
from formsafe.config.loading import load_study
from formsafe.core.errors import FormsafeError
from formsafe.core.layout import Layout
from tests.unit.config.test_config import ROOT, merged, raw

PROMPT = "Judge {instruction} and {answer}."


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What is wrong with the demo study and an overlay, a line per problem, in a folder that holds only the prompt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompt.txt").write_text(PROMPT)

    def problems(*overlays: dict) -> list[str]:
        config = merged(raw("config.yaml", "demo.yaml"), policy({"prompt": "prompt.txt"}))
        for overlay in overlays:
            config = merged(config, overlay)
        try:
            require_files(load_study(config), Layout("demo"), "resources/demo")
        except FormsafeError as error:
            return [line.strip() for line in str(error).splitlines()[1:]]
        return []

    return problems


def policy(changes: dict) -> dict:
    return {"judges": {"policy": changes}}


def model(path) -> dict:
    return {"models": {"demo": {"path": str(path)}}}


def test_what_the_workflow_makes_need_not_be_there(said):
    assert said() == []


@pytest.mark.parametrize("name", ["config.yaml", "demo.yaml"])
def test_the_shipped_studies_have_their_files(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    require_files(load_study(raw("config.yaml", name)), Layout("none"), "resources/demo")


@pytest.mark.parametrize("place", ["/nope.jsonl", "/nope/*.jsonl"])
def test_data_that_is_not_there_is_named_by_its_key(said, place):
    assert said({"corpus": {"source": {"path": place}}}) == [f"corpus.source.path: there is no file {place}"]
    key = "harmful.advbench.source.path"
    assert said({"harmful": {"advbench": {"source": {"path": place}}}}) == [f"{key}: there is no file {place}"]


def test_a_relative_path_says_from_where_it_was_looked_for(said, tmp_path):
    expected = f"corpus.source.path: there is no file rows.jsonl (looked from {tmp_path})"
    assert said({"corpus": {"source": {"path": "rows.jsonl"}}}) == [expected]
    (tmp_path / "rows.jsonl").touch()
    assert said({"corpus": {"source": {"path": "rows.jsonl"}}}) == []
    assert said({"corpus": {"source": {"path": "*.jsonl"}}}) == []


def test_a_model_is_a_folder_with_safetensors(said, tmp_path):
    folder = tmp_path / "mine"
    assert said(model(folder)) == [f"models.demo.path: there is no config.json in {folder}"]
    folder.mkdir()
    (folder / "config.json").touch()
    (line,) = said(model(folder))
    assert line.startswith(f"models.demo.path: there is no *.safetensors in {folder} (weights in other files")
    (folder / "model-00001-of-00001.safetensors").touch()
    assert said(model(folder)) == []


def test_an_encoder_may_keep_its_weights_in_a_folder_of_its_own(said, tmp_path):
    encoder = {"tasks": {"encoder": {"path": str(tmp_path / "encoder")}}}
    assert said(encoder) == [f"tasks.encoder.path: there is no modules.json in {tmp_path}/encoder"]
    (tmp_path / "encoder/0_Module").mkdir(parents=True)
    (tmp_path / "encoder/modules.json").touch()
    (tmp_path / "encoder/0_Module/model.safetensors").touch()
    assert said(encoder) == []


def test_a_model_that_nothing_loads_is_not_looked_for(said):
    spare = {"models": {"spare": {"path": "/nope", "label": "Spare", "parameters": 1.0e6}}}
    assert said(spare) == []
    assert said(spare, policy({"model": "spare"})) == ["models.spare.path: there is no config.json in /nope"]
    server = {"server": {"base_url": "http://127.0.0.1:1/v1", "model": "m"}}
    assert said(spare, policy({"model": "spare", "generation": server})) == []


BENIGN_SET = {
    "benign": {"mine": {"source": {"path": "/nope.csv"}, "prompt_column": "ask", "licence": "mine", "count": 5}}
}
REFUSALS = {
    "judges": {
        "refusal": {
            **{"model": "demo", "prompt": "/nope.txt", "parser": "label", "labels": {"no": True, "yes": False}},
            "generation": {"max_new_tokens": 16},
        }
    }
}
PROJECTED = {
    "methods": {"projected": {"label": "P", "adapter_of": "sft", "projection": {"base": "before", "threshold": 0.3}}},
    "models": {"before": {"label": "B", "path": "/nope", "parameters": 1.0e6}},
}


def test_benign_prompts_and_the_judge_of_refusals_are_looked_for_as_all_others(said):
    benign = "benign.mine.source.path: there is no file /nope.csv"
    assert said(BENIGN_SET) == [benign]
    asked = {**REFUSALS, "judging": {"refusals": "refusal"}}
    assert said(asked) == []  # without benign prompts nobody asks it
    assert said(BENIGN_SET, asked) == ["judges.refusal.prompt: there is no file /nope.txt", benign]


def test_the_base_model_of_a_projection_is_looked_for_where_the_grid_has_the_method(said):
    assert said(PROJECTED) == []
    block = {"models": ["demo"], "methods": ["base", "sft", "projected"], "formats": ["json"]}
    grid = {"grid": [block | {"learning_rates": [5.0e-5], "seeds": [0]}]}
    assert said(PROJECTED, grid) == ["models.before.path: there is no config.json in /nope"]


@pytest.mark.parametrize(
    ("overlay", "manifest", "record"),
    [
        ({"corpus": {"source": {"path": "/a.jsonl"}}}, "data/wikisum.manifest.json", {"source": "/a.jsonl"}),
        (
            {"harmful": {"advbench": {"source": {"path": "/a.csv"}}}},
            "data/harmful/advbench.manifest.json",
            {"source": "/a.csv"},
        ),
        (model("/a"), "models/demo.json", {"path": "/a"}),
        ({"tasks": {"encoder": {"path": "/a"}}}, "encoder.json", {"path": "/a"}),
    ],
)
def test_what_was_fetched_from_its_path_need_not_be_there_any_more(said, tmp_path, overlay, manifest, record):
    assert len(said(overlay)) == 1
    fetched = tmp_path / "results/demo" / manifest
    fetched.parent.mkdir(parents=True)
    fetched.write_text(json.dumps(record))
    assert said(overlay) == []
    fetched.write_text(json.dumps(dict.fromkeys(record, "/another")))
    assert len(said(overlay)) == 1


def test_a_judge_prompt_must_be_there_and_have_both_placeholders_once(said, tmp_path):
    prompt = policy({"prompt": str(tmp_path / "judge.txt")})
    assert said(prompt) == [f"judges.policy.prompt: there is no file {tmp_path}/judge.txt"]
    for text, wrong in [("Judge {answer}.", "{instruction} 0 times"), (PROMPT + "{answer}", "{answer} 2 times")]:
        (tmp_path / "judge.txt").write_text(text)
        (line,) = said(prompt)
        assert line.startswith("judges.policy.prompt: ") and wrong in line
    (tmp_path / "judge.txt").write_bytes(b"\xff")
    assert said(prompt) == [f"judges.policy.prompt: {tmp_path}/judge.txt is not a text in UTF-8"]
    (tmp_path / "judge.txt").write_text(PROMPT)
    assert said(prompt) == []
