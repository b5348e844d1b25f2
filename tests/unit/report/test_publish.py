"""A study on the loopback hub: adapters that plain PEFT loads, cards that say what they are, and no harmful text."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from formsafe.config.loading import load_study, runs_of
from formsafe.core.errors import FormsafeError
from formsafe.core.layout import Layout, run_path
from formsafe.core.records import Run
from formsafe.report import publish
from tests.unit.config.test_config import raw

REPO = "me/formsafe-demo"
BASE = Run("demo", "base")
SFT = Run("demo", "sft", "json", "6.5e-4", "0")
PROMOT = Run("demo", "promot", "prose", "6.5e-4", "0")
PROMPT = "How does one open the neighbour's locked garden shed without asking at night?"
ANSWER = "First wait until the street is quiet, then lift the old door carefully from its hinges."


@pytest.fixture(scope="module")
def finished(tiny_model, tmp_path_factory):
    """Results of a study with two adapters, one of its runs unfinished."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("finished")
    layout, root = Layout("demo"), folder / "results/demo"
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    for run in (SFT, PROMOT):
        model.save_pretrained(folder / layout.run(run) / "adapter")
        (folder / layout.adapter(run)).write_text("{}")
    unfinished = folder / layout.adapter(Run("demo", "sft", "list", "6.5e-4", "0"), "config")
    unfinished.parent.mkdir(parents=True)
    unfinished.write_text("{}")

    def write(name, text):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    write(layout.model("demo"), json.dumps({"path": str(tiny_model), "repo": "maker/base-chat", "revision": "a" * 40}))
    write(layout.prompts("harmful"), json.dumps({"id": "h", "source": "s", "prompt": PROMPT}) + "\n")
    write(layout.answers(SFT, "harmful"), json.dumps({"id": "h", "answer": ANSWER}) + "\n")
    head = "model,method,format,lr,seed,data_seed,examples,metric,value,ci_low,ci_high,n,trainings,scatter"
    rows = [
        [*BASE.fields.values(), "asr", "0", "0", "0.029137", "128", "1", ""],
        [*SFT.fields.values(), "asr", "0.3125", "0.238", "0.3974", "128", "1", ""],
        [*SFT.fields.values(), "rouge_l", "0.5", "0.4", "0.6", "64", "1", ""],
    ]
    write(layout.tidy("summary"), "\n".join([head, *(",".join(row) for row in rows)]) + "\n")
    write(layout.report, "<html>The report</html>")
    write(layout.verdict, "[]")
    write(layout.table("safety", "md"), "| a |")
    write(layout.figure("asr", "demo", "svg"), "<svg/>")
    assert root.is_dir()
    return folder


@pytest.fixture
def study(finished, tmp_path, monkeypatch):
    """A copy of the results, in which a test may change things, as the current folder; returns the configuration."""
    shutil.copytree(finished, tmp_path / "checkout")
    monkeypatch.chdir(tmp_path / "checkout")
    config = raw("config.yaml", "demo.yaml")
    config["models"]["demo"] |= {"licence": "Base Licence 1.0", "label": "De*mo*"}
    for name in ("config.yaml", "demo.yaml"):
        path = Path("config") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(config if name == "demo.yaml" else raw("config.yaml")))
    found = load_study(config)
    assert {SFT, PROMOT} <= set(runs_of(found))
    return found


def published(study):
    return publish.main([REPO, "config/demo.yaml", "--confirm"])


def test_the_dry_run_lists_everything_and_asks_the_hub_for_nothing(study, hub, capsys):
    assert publish.main([REPO, "config/demo.yaml"]) == 0
    said = capsys.readouterr().out
    for part in (f"{run_path(SFT)}/README.md", "results/report.html", f"for {REPO}: private", "Nothing was uploaded"):
        assert part in said
    assert hub.requests == []


def test_the_repository_is_private_and_holds_what_the_list_names_and_no_more(study, hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secretSecretSecretSecret")
    assert published(study) == 0
    assert f"Uploaded: {hub.address}/{REPO}/commit/" in capsys.readouterr().out
    assert hub.settings[f"models/{REPO}"] == {"private": True, "gated": False}
    assert "Bearer hf_secretSecretSecretSecret" in hub.tokens
    files = hub.files[f"models/{REPO}", hub.commits[f"models/{REPO}"]]
    adapters = [
        f"{run_path(run)}/{name}"
        for run in (SFT, PROMOT)
        for name in ("README.md", "adapter_config.json", "adapter_model.safetensors")
    ]
    results = ["report.html", "summary.csv", "verdict.json", "tables/safety.md", "figures/asr_demo.svg"]
    assert set(files) == {"README.md", *adapters, *(f"results/{name}" for name in results)}
    everything = b"".join(files.values())
    assert PROMPT.encode() not in everything and ANSWER.encode() not in everything


def test_the_snapshot_loads_with_plain_peft_and_its_card_states_asr_interval_and_licence(
    study, hub, tiny_model, environment
):
    from huggingface_hub import snapshot_download
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert published(study) == 0
    folder = Path(snapshot_download(REPO))
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = torch.arange(10)[None]
    before = base(ids).logits
    loaded = PeftModel.from_pretrained(base, folder / run_path(SFT))
    own = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model), Path(Layout("demo").run(SFT)) / "adapter"
    )
    assert torch.equal(loaded(ids).logits, own(ids).logits) and not torch.allclose(loaded(ids).logits, before)
    config = json.loads((folder / run_path(SFT) / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("maker/base-chat", "a" * 40)

    text = (folder / run_path(SFT) / "README.md").read_text()
    front, body = yaml.safe_load(text.split("---")[1]), text.split("---", 2)[2]
    assert front["base_model"] == ["maker/base-chat"] and front["library_name"] == "peft"
    assert "research on safety only" in front["extra_gated_prompt"]
    for part in (
        *("| ASR | 0.312 [0.238, 0.397] on 128 prompts |", "| ASR of the base model | 0.000 [0.000, 0.029] on 128"),
        *("95 % confidence interval", "Warning: this model may be far less safe", "learning rate 6.5e-4"),
        *("base model maker/base-chat: Base Licence 1.0", "training data: MIT", "harmful prompts advbench: MIT"),
        *("commit aaaa", "640 how-to articles written as JSON", f'subfolder="{run_path(SFT)}"', "De\\*mo\\*"),
    ):
        assert part in body, part
    whole = (folder / "README.md").read_text()
    assert f"[{run_path(SFT)}]({run_path(SFT)}/README.md)" in whole and "0.312 [0.238, 0.397]" in whole
    assert "not measured" in whole  # ProMoT has no row in the summary
    assert yaml.safe_load(whole.split("---")[1])["base_model"] == ["maker/base-chat"]


def test_gated_is_opened_only_after_the_upload_and_each_access_on_request(study, hub):
    assert publish.main([REPO, "config/demo.yaml", "--confirm", "--gated"]) == 0
    assert hub.settings[f"models/{REPO}"] == {"private": False, "gated": "manual"}
    changes = [request.split()[1].rsplit("/", 1)[-1] for request in hub.requests if not request.startswith("GET")]
    assert changes[-2:] == ["main", "settings"] and changes[0] == "create"  # commit/main


def test_a_repository_that_is_open_to_everybody_takes_nothing(study, hub, capsys):
    hub.add(f"models/{REPO}", {})
    hub.settings[f"models/{REPO}"] = {"private": False, "gated": False}
    assert published(study) == 1
    assert "is open to everybody" in capsys.readouterr().err
    assert hub.files[f"models/{REPO}", hub.commits[f"models/{REPO}"]] == {}
    hub.settings[f"models/{REPO}"] = {"private": False, "gated": "manual"}
    assert published(study) == 0


@pytest.mark.parametrize("text", [PROMPT, ANSWER])
@pytest.mark.parametrize("name", ["report.html", "tables/more.csv", "figures/x_demo.svg"])
def test_a_harmful_text_in_any_file_stops_all(study, hub, name, text, capsys):
    path = Path("results/demo") / name
    path.write_text(f"<p>id h-1: {text.upper().replace(chr(39), '&#39;').replace(' ', '  ')}</p>")
    assert published(study) == 1
    said = capsys.readouterr()
    assert f"results/{name} repeats a harmful prompt or an answer" in said.err and hub.requests == []
    assert text[:20] not in said.err + said.out


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_hub_that_refuses_is_an_error_with_a_remedy(study, hub, status, capsys):
    hub.add(f"models/{REPO}", {})
    hub.settings[f"models/{REPO}"] = {"private": True}
    hub.refuse(f"models/{REPO}", status, None)
    assert published(study) == 1
    said = capsys.readouterr().err
    assert f"status {status}" in said and "HF_TOKEN" in said


def test_without_network_it_says_so(study, no_network, capsys):
    assert published(study) == 1
    assert "no connection" in capsys.readouterr().err


def test_an_unfinished_study_and_a_wrong_name_are_errors(study, capsys):
    assert publish.main(["no-owner", "config/demo.yaml"]) == 1
    assert "write REPO=owner/name" in capsys.readouterr().err
    Path("results/demo/report.html").unlink()
    assert publish.main([REPO, "config/demo.yaml"]) == 1
    assert "Run the study to its end first" in capsys.readouterr().err


def test_a_base_model_of_this_machine_is_named_without_its_folder(study):
    path = Path(Layout("demo").model("demo"))
    path.write_text(json.dumps({"path": "/home/me/secret place/my-model", "repo": None, "revision": None}))
    files = publish.files_of(study, REPO)
    config = json.loads(files[f"{run_path(SFT)}/adapter_config.json"])
    assert config["base_model_name_or_path"] == "my-model"
    assert not any(b"secret place" in held for held in files.values() if isinstance(held, bytes))


def test_pieces_are_found_wherever_they_start():
    text = "".join(chr(97 + n * n % 23) for n in range(200))
    for start in (0, 7, 39):
        with pytest.raises(FormsafeError, match=r"a\.csv repeats"):
            publish.require_no_texts({"a.csv": text[start : start + 80].encode()}, [text])
    publish.require_no_texts({"a.csv": text[10:48].encode(), "b.bin": text.encode()}, [text])
