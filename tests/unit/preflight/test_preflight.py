"""Preflight: each thing that can be wrong is found, named with its remedy, and decides go or no-go."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from formsafe.config.loading import runs_of
from formsafe.config.settings.data import DataSource
from formsafe.config.settings.models import ModelSettings, ModelSource
from formsafe.config.settings.study import StudySettings
from formsafe.core.layout import Layout
from formsafe.core.records import Run
from formsafe.models.context import read_context
from formsafe.preflight import machine_checks, stage_costs, study_costs
from formsafe.preflight import page as preflight
from formsafe.preflight.checks import Check, page, verdict
from formsafe.preflight.machine_checks import Gpu
from formsafe.preflight.model_checks import check_chat, check_encoder
from formsafe.preflight.source_checks import Sources
from formsafe.preflight.stage_costs import START_SECONDS
from formsafe.sources.hub_probe import hub_answers
from tests.fake_hub import COMMIT
from tests.guard import write_guard_model

ROOT = Path(__file__).resolve().parents[3]
L = Layout("s")
TOKEN = "hf_topSecretTokenOfTheTests"
H200 = Gpu("NVIDIA H200", int(150e9), int(149e9), True, 1, "12.8")
WEIGHTS = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"a pickle"}
PLAIN = ModelSettings(path="m", label="M", parameters=1e6)
REPO = ModelSource(repo="owner/name")


def look(tmp_path, source=REPO, online=True):
    sources = Sources(online, tmp_path / "lock.yaml")
    return sources.model("m", source, None), sources


def test_a_model_that_can_be_fetched_is_not_fetched(hub, tmp_path):
    hub.add("models/owner/name", WEIGHTS)
    assert hub_answers()
    (check, folder, _), _ = look(tmp_path)
    assert (check.state, folder) == ("ok", None) and "can be fetched" in check.detail
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert not any(request.startswith("GET") and "resolve" in request for request in hub.requests)


def test_a_model_without_safetensors_is_a_no(hub, tmp_path):
    hub.add("models/owner/name", {"config.json": b"{}", "pytorch_model.bin": b"a pickle"})
    (check, _, _), sources = look(tmp_path)
    assert check.state == "no" and "no *.safetensors" in check.detail + check.remedy
    assert sources.network() == []


def test_a_folder_of_ones_own_may_have_its_weights_deeper(tmp_path):
    """As sentence-transformers writes some encoders."""
    (tmp_path / "encoder/0_Transformer").mkdir(parents=True)
    sources, folder = Sources(False, tmp_path / "lock.yaml"), str(tmp_path / "encoder")
    assert sources.model("m", None, folder)[0].state == "no"
    (tmp_path / "encoder/0_Transformer/model.safetensors").touch()
    assert sources.model("m", None, folder)[0].state == "ok"


REFUSALS = {
    "gated, no token": ((401, "GatedRepo", True), None, "is gated", "Accept its terms"),
    "gated, no access": ((403, "GatedRepo", True), TOKEN, "is gated", "Accept its terms"),
    "missing": ((404, "RepoNotFound"), TOKEN, "does not exist", "Check the name"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_a_no_with_its_remedy_and_the_token_is_never_shown(hub, tmp_path, monkeypatch, capfd, case):
    refusal, token, said, remedy = REFUSALS[case]
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.add("models/owner/name", WEIGHTS)
    hub.refuse("models/owner/name", *refusal)
    (check, _, _), sources = look(tmp_path)
    assert check.state == "no" and said in check.detail and remedy in check.remedy
    assert sources.token().state == ("ok" if token else "no")
    written = page("t", [check, sources.token()], "")
    printed = capfd.readouterr()
    assert TOKEN not in written + printed.out + printed.err
    assert f"Bearer {TOKEN}" in hub.tokens or not token


def test_what_is_in_the_cache_needs_no_network(hub, tmp_path, request):
    from huggingface_hub import snapshot_download

    hub.add("models/owner/name", WEIGHTS | {"README.md": b""})
    snapshot_download("owner/name", allow_patterns=["*.json", "*.safetensors"])
    request.getfixturevalue("no_network")
    assert not hub_answers()
    (check, folder, _), sources = look(tmp_path, online=False)
    assert check.state == "ok" and "in the cache" in check.detail
    assert (folder / "model.safetensors").exists() and sources.network() == []


def test_without_network_the_ways_to_work_offline_are_named_once(no_network, tmp_path):
    assert not hub_answers()
    (check, _, _), sources = look(tmp_path, online=False)
    data = sources.data("d", DataSource(hub={"repo": "owner/data"}), tmp_path / "none.jsonl")
    url = sources.data("u", DataSource(url=f"{no_network}/rows.csv?part=secret"), tmp_path / "none.jsonl")
    (network,) = sources.network()
    assert {check.state, data.state, url.state} == {"no"} and network.state == "unchecked"  # counted once each
    assert "3 sources" in network.detail
    assert all(way in network.remedy for way in ("`models` and `data`", "HF_HOME", "`path:`"))
    assert "secret" not in url.detail + url.remedy


def test_a_name_look_up_that_hangs_costs_seconds_only(monkeypatch, environment):
    import threading

    from formsafe.sources import hub_probe

    released = threading.Event()
    monkeypatch.setattr(hub_probe, "_PATIENCE", 0.05)
    assert hub_probe.within(released.wait, seconds=0.05) is False
    released.set()


def test_a_hub_in_trouble_is_no_fault_of_the_repository(hub, tmp_path):
    hub.add("models/owner/name", WEIGHTS)
    hub.refuse("models/owner/name", 503, None)
    (check, _, _), sources = look(tmp_path)
    assert check.state == "no" and len(sources.network()) == 1


def test_the_locked_commit_is_what_is_looked_for(hub, tmp_path):
    lock = {"sources": {"dataset owner/data@main default/train": {"commit": COMMIT}}}
    (tmp_path / "lock.yaml").write_text(yaml.safe_dump(lock))
    hub.add("datasets/owner/data", {"rows.csv": b"a\n1\n"}, commit="f" * 40)
    sources = Sources(True, tmp_path / "lock.yaml")
    check = sources.data("d", DataSource(hub={"repo": "owner/data"}), tmp_path / "none.jsonl")
    assert check.state == "no" and "is gone" in check.detail and "delete its entry" in check.remedy


@pytest.mark.parametrize("status, state", [(b"a,b\n", "ok"), (404, "no"), (500, "no")])
def test_urls_are_asked(hub, tmp_path, status, state):
    hub.files["plain/rows.csv", None] = status
    check = Sources(True, tmp_path / "l").data("u", DataSource(url=f"{hub.address}/plain/rows.csv"), tmp_path / "none")
    assert check.state == state


def test_local_sources(tmp_path, tiny_model):
    sources = Sources(False, tmp_path / "lock.yaml", made=["resources/demo/"])
    assert sources.model("m", None, str(tiny_model))[0].state == "ok"
    assert sources.model("m", None, str(tmp_path))[0].state == "no"
    assert sources.model("m", None, "resources/demo/model")[0].state == "ok"
    (tmp_path / "a.jsonl").write_text("{}\n")
    assert sources.data("d", DataSource(path=str(tmp_path / "*.jsonl")), tmp_path / "none").state == "ok"
    assert sources.data("d", DataSource(path=str(tmp_path / "*.csv")), tmp_path / "none").state == "no"
    assert sources.data("d", DataSource(path="resources/demo/data/x.csv"), tmp_path / "none").state == "ok"
    assert sources.data("d", DataSource(hub={"repo": "no/network"}), tmp_path / "a.jsonl").state == "ok"


def test_chat_templates_render_or_say_what_is_wrong(tmp_path, tiny_model):
    assert check_chat("m", PLAIN, tiny_model, [None, "Be brief."], [None, "Be brief."]).state == "ok"
    assert check_chat("m", PLAIN, None, [None]).state == "unchecked"
    for name, template in {"none": None, "broken": "{{ messages[7].content }}", "deaf": "{{ bos_token }}hello"}.items():
        folder = shutil.copytree(tiny_model, tmp_path / name)
        (folder / "chat_template.jinja").unlink()
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        check = check_chat("m", PLAIN, folder, [None], [None])
        assert check.state == "no" and check.remedy, name


def test_a_login_node_without_gpu_is_no_obstacle():
    check = machine_checks.check_gpu(None, {"m": "cuda"}, {"m": "auto"})
    assert check.state == "unchecked" and verdict([check])[0]
    assert machine_checks.check_gpu(None, {"m": "cpu"}, {"m": "auto"}).state == "ok"
    assert machine_checks.check_gpu(H200, {"m": "cuda"}, {"m": "auto"}).state == "ok"


@pytest.fixture
def build(monkeypatch):
    """Stand in for a PyTorch with or without CUDA, on a machine with or without cards, of which one fails."""

    def stand_in(cuda, cards=(), fault=None):
        def ones(*sizes, device):
            raise fault

        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: fault is not None)
        monkeypatch.setattr(machine_checks, "installed_cards", lambda: list(cards))
        if fault is not None:
            monkeypatch.setattr(torch, "ones", ones)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return stand_in


def test_a_cpu_build_of_pytorch_is_a_no_where_a_model_asks_for_cuda(build):
    build(None)
    check = machine_checks.gpu_fault(["cuda", "auto"])
    assert check.state == "no" and "build for CPUs" in check.detail and "requirements.txt" in check.remedy
    assert machine_checks.gpu_fault(["auto", "cpu"]) is None, "auto computes on the CPU"
    build("12.8")
    assert machine_checks.gpu_fault(["cuda"]) is None, "a login node"


@pytest.mark.parametrize("cuda", [None, "12.8"])
def test_a_card_that_pytorch_cannot_use_is_a_no(build, monkeypatch, cuda):
    build(cuda, cards=["GPU-1"])
    assert machine_checks.gpu_fault(["auto"]).state == "no"
    assert machine_checks.gpu_fault(["cpu"]) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine_checks.gpu_fault(["auto"]) is None, "hidden on purpose"


def test_a_card_that_cannot_compute_is_a_no_and_no_crash(build):
    build("12.8", ["GPU-1"], fault=RuntimeError("CUDA error: devices are busy\nlong advice"))
    check = machine_checks.gpu_fault(["cuda"])
    assert check.state == "no" and check.detail.endswith("CUDA error: devices are busy)") and check.remedy
    assert machine_checks.gpu_fault(["cpu"]) is None


def test_a_card_without_bfloat16_needs_another_dtype():
    old = Gpu("Tesla V100", int(16e9), int(16e9), False, 1, "12.8")
    assert machine_checks.check_gpu(old, {"m": "cuda"}, {"m": "auto"}).state == "no"
    assert machine_checks.check_gpu(old, {"m": "cuda"}, {"m": "float16"}).state == "ok"


def test_four_bit_arithmetic_is_computed_here():
    loss, error = machine_checks.four_bit_errors("cpu")
    assert 0.05 < loss < 0.15 and error < 1e-4
    assert machine_checks.check_four_bit("cpu", needed=True).state == "ok"
    assert machine_checks.check_four_bit("cpu", needed=False).state == "ok"


def test_four_bit_arithmetic_is_tried_where_the_models_are_computed():
    assert machine_checks.four_bit_device(["cuda"], None) is None
    assert machine_checks.four_bit_device(["auto"], None) == "cpu"
    assert machine_checks.four_bit_device(["cpu"], H200) == "cpu"
    assert machine_checks.four_bit_device(["cpu", "auto"], H200) == "cuda"
    check = machine_checks.check_four_bit(None, needed=True)
    assert check.state == "unchecked" and verdict([check])[0]


def test_a_wrong_backward_product_is_found(monkeypatch):
    import bitsandbytes

    real = bitsandbytes.autograd._functions.MatMul4Bit.backward
    wrong = staticmethod(lambda context, gradient: (2 * real(context, gradient)[0], *real(context, gradient)[1:]))
    monkeypatch.setattr(bitsandbytes.autograd._functions.MatMul4Bit, "backward", wrong)
    assert machine_checks.check_four_bit("cpu", needed=True).state == "no"


@pytest.mark.parametrize("errors", [(0.09, 0.5), (0.7, 0.0), None])
def test_wrong_or_failing_four_bit_arithmetic_is_a_no(monkeypatch, errors):
    def compute(device):
        if errors is None:
            raise RuntimeError("CUDA driver version is insufficient")
        return errors

    monkeypatch.setattr(machine_checks, "four_bit_errors", compute)
    check = machine_checks.check_four_bit("cpu", needed=True)
    assert check.state == "no" and "bitsandbytes" in check.remedy


def test_needs_on_one_disk_add_up(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    (together,) = machine_checks.check_disk({tmp_path / "a": 0.4 * free, tmp_path / "b" / "c": 0.4 * free})
    assert together.state == "ok" and f"{0.8 * free / 1e9:.1f} GB needed" in together.detail
    (too_much,) = machine_checks.check_disk({tmp_path / "a": 0.6 * free, tmp_path / "b": 0.6 * free})
    assert too_much.state == "no" and "HF_HOME" in too_much.remedy


def test_the_verdict_and_the_page(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # of the terminal
    ok, no, unknown = (
        Check("A", "first", "ok", "fine", "never shown"),
        Check("B", "second", "no", "bad " * 60, "do this " * 20),
        Check("A", "third", "unchecked", "unknown"),
    )
    assert verdict([ok]) == (True, "GO")
    assert verdict([ok, unknown])[0] and "1 could not be checked" in verdict([unknown])[1]
    assert not verdict([ok, no, unknown])[0]
    written = page("title", [ok, no, unknown], "costs")
    assert max(map(len, written.splitlines())) <= 100
    assert "do this" in written and "never shown" not in written
    assert written.index("third") < written.index("second")


@pytest.fixture
def study():
    return StudySettings.model_validate(yaml.safe_load((ROOT / "config/config.yaml").read_text()))


def planned(study):
    runs = runs_of(study)
    trained = [run for run in runs if run.format != "none"]
    return study, {
        "soft prompts": sorted({L.soft_prompt(r) for r in trained if r.method == "promot"}),
        "adapters": [L.adapter(run) for run in trained],
        "answers": [
            L.answers_metrics(run, name) for run in runs for name in (None, *(["benign"] if study.benign else []))
        ],
        "judge": [L.judge_metrics(run, judge) for run in runs for judge in study.used_judges],
    }


def test_every_judge_set_of_prompts_and_number_of_examples_is_work_of_its_own():
    fields = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    fields["judges"]["second"] = {**fields["judges"]["policy"], "model": "llama-2-7b-chat"}
    fields["judging"]["judges"] = ["policy", "second"]
    fields["safety"] = {"source": "beavertails"}
    fields["benign"] = {"mine": {**fields["harmful"]["advbench"], "count": 7}}
    fields["grid"] = [{**fields["grid"][0], "methods": ["base", "sft"], "formats": ["json"], "examples": [200, 1425]}]
    study = StudySettings(**fields)
    plan, jobs = planned(study)
    base = next(run for run in runs_of(study) if run.format == "none")
    jobs["answers"].append(L.answers_metrics(base, "safety"))
    jobs["judge"] += [L.judge_metrics(base, "second", "benign"), L.judge_metrics(base, "policy", "safety")]
    works = study_costs.works_of(plan, jobs)
    found = {(work.stage, work.model, work.prompts, work.units): len(work.jobs) for work in works}
    llama3, llama2 = "llama-3.1-8b-instruct", "llama-2-7b-chat"
    runs = len(runs_of(study))
    models = {model: sum(run.model == model for run in runs_of(study)) for model in (llama3, llama2)}
    assert {key: count for key, count in found.items() if key[0] == "judge"} == {
        ("judge", llama3, "", 1320): runs,
        ("judge", llama2, "", 1320): runs,
        ("judge", llama2, "benign", 7): 1,
        ("judge", llama3, "safety", 400): 1,
    }
    answers = {key[1:]: count for key, count in found.items() if key[0] == "answers"}
    expected = {(model, "", 1420): count for model, count in models.items() if count}
    benign = {(model, "benign", 7): count for model, count in models.items() if count}
    assert answers == expected | benign | {(base.model, "safety", 400): 1}
    assert {key[3] for key in found if key[0] == "adapters"} == {90, 14}


def test_the_papers_jobs(study):
    works = study_costs.works_of(*planned(study))
    jobs = {stage: sum(len(work.jobs) for work in works if work.stage == stage) for stage in stage_costs.STAGES}
    assert jobs == {"soft prompts": 6, "adapters": 16, "answers": 18, "judge": 18}
    assert {work.stage: work.units for work in works} == {
        "soft prompts": 23,
        "adapters": 90,
        "answers": 1420,
        "judge": 1320,
    }
    assert {work.model for work in works if work.stage == "judge"} == {"llama-3.1-8b-instruct"}


def test_what_a_server_does_is_no_work_here(study):
    plan, jobs = planned(study)
    fields = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    fields["judges"]["policy"]["generation"]["server"] = {"base_url": "http://127.0.0.1:1/v1", "model": "x"}
    plan = StudySettings(**fields)
    assert {work.stage for work in study_costs.works_of(plan, jobs)} == {"soft prompts", "adapters", "answers"}
    fields["judges"]["policy"]["generation"]["server"] = {"command": "vllm serve {model} --port {port}"}
    assert "judge" in {work.stage for work in study_costs.works_of(StudySettings(**fields), jobs)}


def test_the_paper_without_network_and_gpu(study, no_network, tmp_path, monkeypatch):
    monkeypatch.setattr(machine_checks, "gpu_fault", lambda devices: None)
    monkeypatch.setattr(machine_checks, "find_gpu", lambda: None)
    advbench = study.harmful["advbench"].source.model_copy(update={"url": f"{no_network}/a.csv"})
    harmful = {**study.harmful, "advbench": study.harmful["advbench"].model_copy(update={"source": advbench})}
    plan, jobs = planned(study.model_copy(update={"harmful": harmful}))
    monkeypatch.chdir(tmp_path)
    go, written = preflight.preflight(plan, preflight.Planned(jobs, tmp_path / "lock.yaml"))
    assert not go and "NO-GO" in written
    assert "llama-3.1-8b-instruct" in written and "not measured" in written
    assert "no GPU here; gpu_memory_gb chooses its memory" in written
    assert len(written.splitlines()) < 85  # one page


@pytest.fixture
def at_hand(study, tmp_path, monkeypatch, tiny_model):
    """The paper's study with a small model, small data and a GPU, everything on this machine; takes changes."""
    monkeypatch.setattr(machine_checks, "gpu_fault", lambda devices: None)
    monkeypatch.setattr(machine_checks, "find_gpu", lambda: H200)
    monkeypatch.setattr(machine_checks, "check_four_bit", lambda device, needed: Check("m", "4-bit", "ok", device))
    monkeypatch.setattr(preflight, "check_encoder", lambda folder: Check("m", "encoder use", "ok", str(folder)))
    monkeypatch.chdir(tmp_path)
    how_tos = [{"title": f"How to {word}", "summary": f"Take a {word}. Use it."} for word in WORDS]
    (tmp_path / "how_tos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in how_tos))
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"ask": f"{word}?"}) + "\n" for word in WORDS))
    (tmp_path / "judge.txt").write_text("Judge {instruction} and {answer}: write #thescore: and 1 to 5.")
    raw = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for model in raw["models"].values():
        model |= {"hub": None, "path": str(tiny_model)}
    local = {"source": {"path": "how_tos.jsonl"}, "rows": None, "splits": {"train": 16, "validation": 2, "test": 2}}
    raw["corpus"] |= local
    prompts = {"source": {"path": "prompts.jsonl"}, "prompt_column": "ask", "licence": "mine", "count": 5}
    raw["harmful"] = {"mine": prompts}
    raw["tasks"]["encoder"] |= {"hub": None, "path": str(tiny_model)}
    raw["judges"]["policy"] |= {"prompt": "judge.txt", "generation": {"max_new_tokens": 8}, "retries": []}
    raw["generation"] |= {"max_new_tokens": 64}
    raw["adapter"] |= {"warmup_steps": 0}

    def look(change=lambda raw: None, **more) -> tuple[bool, str]:
        changed = copy.deepcopy(raw)
        change(changed)
        plan, jobs = planned(StudySettings.model_validate(changed))
        go, written = preflight.preflight(plan, preflight.Planned(jobs, tmp_path / "lock.yaml", **more))
        return go, " ".join(written.split())

    return look


WORDS = [f"{first}{second}" for first in ("oil", "saw", "nut", "cup", "pan") for second in ("er", "en", "y", "s")]


def test_everything_at_hand_is_a_go_on_a_gpu(at_hand):
    go, written = at_hand()
    assert go and written.endswith(" GO"), written
    assert "Costs on NVIDIA H200, 150 GB" in written and "LoRA" not in written
    assert "20 of 20 rows can be used" in written and "5 prompts" in written
    assert "on 100% of the linear weights: down_proj (2), gate_proj (2)" in written
    go, written = at_hand(lambda raw: raw.update(benign={"kind": {**raw["harmful"]["mine"], "count": 6}}))
    assert go and "18 runs" in written and "answers, benign" in written and "6 prompts" in written, written
    go, written = at_hand(lambda raw: raw.update(gpu_memory_gb=200))
    assert not go and "gpu_memory_gb is 200, the GPU here has 150 GB" in written


def edit(*path, **values):
    """A change of the section at `path`."""

    def change(raw):
        for key in path:
            raw = raw[key]
        raw.update(values)

    return change


def test_a_second_judge_and_the_base_of_a_projection_are_looked_for(at_hand):
    def change(raw):
        spare = {"label": "Spare", "parameters": 1e6, "path": "/nope"}
        raw["models"] |= {"spare": spare, "before": spare | {"label": "Before"}}
        raw["judges"]["second"] = {**raw["judges"]["policy"], "model": "spare"}
        raw["judging"]["judges"] = ["policy", "second"]
        raw["methods"]["safelora"] = {
            "label": "SafeLoRA",
            "adapter_of": "sft",
            "projection": {"base": "before", "threshold": 0.3},
        }
        raw["grid"][0]["methods"] = [*raw["grid"][0]["methods"], "safelora"]

    go, written = at_hand(change)
    assert not go and "NO spare" in written and "NO before" in written, written


def judged_by(folder, **judge):
    """A change after which a model of its own, in `folder`, judges."""

    def change(raw):
        raw["models"]["guard"] = raw["models"]["llama-2-7b-chat"] | {"label": "Guard", "path": str(folder)}
        raw["judges"]["policy"] |= {"model": "guard"} | judge
        raw["methods"]["asked"] = {"label": "Asked", "adapter_of": "sft", "system_prompt_test": "Be safe."}
        raw["grid"][0]["methods"] = [*raw["grid"][0]["methods"], "asked"]

    return change


def test_a_judge_of_its_own_kind_is_tried_with_what_it_is_asked(at_hand, tmp_path, tiny_model):
    """Llama Guard's template takes no question without an answer, and no judge gets the methods' system prompts."""
    labels = {"labels": {"safe": False, "unsafe": True}, "marker": None, "prompt": None, "conversation": True}
    go, written = at_hand(judged_by(write_guard_model(tiny_model, tmp_path / "guard"), parser="label", **labels))
    assert go and "guard chat" not in written, written
    mute = shutil.copytree(tiny_model, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    go, written = at_hand(judged_by(mute))
    assert not go and "NO judge policy" in written and "chat template" in written, written


def test_system_prompts_are_tried_with_the_models_that_get_them(at_hand, tmp_path, tiny_model):
    refusing = shutil.copytree(tiny_model, tmp_path / "refusing")
    template = (refusing / "chat_template.jinja").read_text()
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    (refusing / "chat_template.jinja").write_text(refuse + template)

    def change(raw, *, both):
        raw["models"]["llama-2-7b-chat"]["path"] = str(refusing)
        raw["methods"]["asked"] = {"label": "Asked", "adapter_of": "sft", "system_prompt_test": "Be safe."}
        block = raw["grid"][0]
        models = ["llama-3.1-8b-instruct", "llama-2-7b-chat"][: 1 + both]
        raw["grid"].append(block | {"methods": ["sft", "asked"], "models": models})

    assert at_hand(lambda raw: change(raw, both=False))[0]
    go, written = at_hand(lambda raw: change(raw, both=True))
    assert not go and "NO llama-2-7b-chat chat" in written and "NO llama-3.1" not in written, written


def test_a_method_of_as_many_steps_as_all_examples_takes_is_planned_with_them(study):
    run = {"model": "llama-2-7b-chat", "method": "sft", "format": "json", "lr": "5e-5", "seed": "0", "examples": "100"}
    same = study.model_copy(update={"methods": {"sft": study.methods["sft"].model_copy(update={"same_steps": True})}})
    assert study.corpus.splits.train == 1425
    for plan, steps in ((study, 8), (same, 90)):
        jobs = dict.fromkeys(study_costs.STAGES, ()) | {"adapters": [L.adapter(Run(**run))]}
        (work,) = study_costs.works_of(plan, jobs)
        assert work.units == steps


# Everything that a job would meet later: the change, and what the page says.
MET_HERE = {
    "rows of another source": (edit("corpus", rows=39775), "expected 39,775 rows"),
    "a wrong column": (edit("harmful", "mine", prompt_column="goal"), "expected a column `goal`"),
    "splits larger than the file": (edit("corpus", "splits", train=100), "only 20 of 20 rows can be used"),
    "more prompts than rows": (edit("harmful", "mine", count=21), "21"),
    "another digest": (edit("harmful", "mine", digest="0" * 64), "not those expected"),
    "misspelt modules": (edit("adapter", "lora", target_modules=["q_prj"]), "q_proj"),
    "one misspelt module": (edit("adapter", "lora", target_modules=["q_proj", "v_prj"]), "no module is called v_prj"),
    "a judge without room": (edit("judges", "policy", "generation", max_new_tokens=100000), "left for an answer"),
    "only warm-up": (edit("adapter", warmup_steps=5, epochs=1.0), "5 of them warm-up: nothing is learned"),
    "a judge's prompt without places": (edit("judges", "policy", prompt="how_tos.jsonl"), "{instruction} 0 times"),
    "no such attention": (edit("models", "llama-2-7b-chat", attention="flash_attention_2"), "build"),
}


@pytest.mark.parametrize("case", MET_HERE)
def test_what_a_job_would_meet_is_met_here(at_hand, case):
    change, said = MET_HERE[case]
    go, written = at_hand(change)
    assert not go and said in written, written


@pytest.mark.parametrize(
    ("label", "said"), [("\U0010fffd", "figures would show boxes"), ("$\\frac{1$", "can be drawn")]
)
def test_labels_are_drawn_once_and_boxes_stop_no_study(at_hand, label, said):
    _, written = at_hand(edit("models", "llama-2-7b-chat", label=label))
    assert said in " ".join(written.split()) and "NO  models.llama-2-7b-chat.label" not in written, written


def test_a_gone_cache_is_named_with_the_way_back(at_hand, tmp_path):
    manifest = tmp_path / "results/paper/models/llama-2-7b-chat.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"path": None, "repo": "owner/name", "revision": "1" * 40, "files": {}}))
    go, written = at_hand()
    assert not go and f"owner/name at commit {'1' * 40} is not in the hub's cache" in written and "HF_HOME" in written
    manifest.write_text(json.dumps({"path": "/gone/model", "repo": None, "revision": None, "files": {}}))
    go, written = at_hand()
    assert not go and "/gone/model, which is gone" in written


def test_a_local_file_is_read_again_although_its_rows_were_fetched(at_hand, tmp_path):
    fetched = tmp_path / Layout("paper").source("mine")
    fetched.parent.mkdir(parents=True)
    rows = [{"row": n, "prompt": f"{word}?", "category": None} for n, word in enumerate(WORDS)]
    fetched.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert at_hand()[0]
    go, written = at_hand(edit("harmful", "mine", prompt_column="goal"))
    assert not go and "expected a column `goal`" in written


def test_rows_that_were_fetched_are_held_against_the_configuration(at_hand, tmp_path):
    folder = tmp_path / "results/paper/data"
    folder.mkdir(parents=True)
    rows = [{"row": n, "title": f"How to {word}", "response": f"Take {word}. Go."} for n, word in enumerate(WORDS)]
    (folder / "wikisum.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "wikisum.manifest.json").write_text(json.dumps({"rows": 20}))
    assert at_hand()[0] and at_hand(edit("corpus", rows=20))[0]
    go, written = at_hand(edit("corpus", rows=39775))
    assert not go and "39,775 expected, 20 fetched" in written


def test_an_encoder_is_tried(tiny_model, tmp_path):
    """A tokenizer without a padding token fails in the job of the first texts of different lengths."""
    from sentence_transformers import SentenceTransformer, models

    made = models.Transformer(str(tiny_model))
    pooling = models.Pooling(made.get_word_embedding_dimension())
    SentenceTransformer(modules=[made, pooling], device="cpu").save(str(tmp_path / "e"), create_model_card=False)
    assert check_encoder(None).state == "unchecked"
    good = check_encoder(tmp_path / "e")
    config = json.loads((tmp_path / "e/tokenizer_config.json").read_text())
    config.pop("pad_token", None)
    (tmp_path / "e/tokenizer_config.json").write_text(json.dumps(config))
    bad = check_encoder(tmp_path / "e")
    assert {good.state, bad.state} <= {"ok", "no"} and bad.state == "no" and "padding" in bad.detail + bad.remedy


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):

    assert machine_checks.check_writable([tmp_path / "a" / "b"]) == []

    def refuse(dir):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(machine_checks.tempfile, "TemporaryFile", refuse)
    (check,) = machine_checks.check_writable([tmp_path / "a" / "b"])
    assert check.state == "no" and str(tmp_path) in check.detail and "right to write" in check.remedy


SINFO = "gpu|1-00:00:00|gpu:h200:4\ngpu|1-00:00:00|gpu:a100:4\ncpu|infinite|(null)\nshort|30:00|gpu:1\n"
ASKED = {"slurm_partition": "gpu", "slurm_account": "mine"}
SHARED = "gpu, up to 1440 min; jobs without a GPU go there, too"
SLURM = {
    "all is well": ({}, SHARED),
    "a text in quotes": ({"longest_runtime": "30", "slurm_partition": "'short'"}, "short, up to 30 min"),
    "a CPU partition": ({"cpu_partition": "cpu"}, "gpu, up to 1440 min -> "),
    "jobs no longer than the limit": ({"slurm_partition": "short", "longest_runtime": 30}, "short, up to 30 min"),
    "jobs longer than the limit": ({"slurm_partition": "short", "longest_runtime": 31}, "the longest here asks for 31"),
    "no such CPU partition": ({"cpu_partition": "cpus"}, "there is no partition 'cpus' -> Write one of these"),
    "no such partition": ({"slurm_partition": "gpus"}, "there is no partition 'gpus' -> Write one of these"),
    "a placeholder account": ({"slurm_account": "my-account"}, "no account 'my-account' -> Write one of these"),
    "too short": ({"slurm_partition": "short"}, "short lets jobs run 30 min, the longest here asks for 100"),
    "no GPU": ({"slurm_partition": "cpu"}, "cpu has no GPU"),
}


@pytest.mark.parametrize("case", SLURM)
def test_slurm_is_asked_for_partition_account_and_time(tmp_path, monkeypatch, case):
    from formsafe.preflight.slurm_checks import check_slurm, slurm_request

    asked, said = SLURM[case]
    profile = tmp_path / "config.yaml"
    profile.write_text(yaml.safe_dump({"default-resources": ASKED | asked}))
    for name, answer in {"sinfo": SINFO, "sacctmgr": "mine\nother\n"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'E'\n{answer}E\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    checks = list(check_slurm(slurm_request(profile, 100)))
    assert {check.state for check in checks} == ({"ok"} if ", up to" in said else {"ok", "no"})
    assert said in " ".join(f"{check.detail} -> {check.remedy}" for check in checks)


def test_a_profile_may_list_its_resources(tmp_path, monkeypatch):
    from formsafe.preflight.slurm_checks import SlurmRequest, slurm_request

    (tmp_path / "sinfo").write_text("#!/bin/sh\n")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    by_name = {"default-resources": ASKED | {"longest_runtime": 60, "slurm_extra": "'--qos=a'"}}
    by_name["set-resources"] = {
        "score_texts": {"slurm_partition": "cpu", "mem_mb": 9},
        "train_adapter": {"gpu_model": "h"},
    }
    listed = {"default-resources": [f"{name}={value}" for name, value in by_name["default-resources"].items()]}
    listed["set-resources"] = ["score_texts:slurm_partition='cpu'", "score_texts:mem_mb=9"]
    for number, profile in enumerate((by_name, listed)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(profile))
        assert slurm_request(path, 100) == SlurmRequest(str(path), "gpu", "mine", 60, ("cpu",))


def test_slurm_without_an_answer_is_unchecked_and_without_slurm_nothing_is_asked(tmp_path, monkeypatch):
    from formsafe.preflight.slurm_checks import check_slurm, slurm_request

    profile = tmp_path / "config.yaml"
    profile.write_text(yaml.safe_dump({"default-resources": ASKED}))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert slurm_request(profile, 1) is None
    for name in ("sinfo", "sacctmgr"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert [check.state for check in check_slurm(slurm_request(profile, 1))] == ["unchecked", "unchecked"]


def context_of(plan, model, memory_gb):
    return read_context(None, plan.models[model], memory_gb, "cuda")


def test_a_model_too_large_for_the_card_is_a_no(study, tmp_path):
    plan, jobs = planned(study)
    work = next(work for work in study_costs.works_of(plan, jobs) if work.stage == "adapters")
    small, context = study_costs.Card("small", 4.0), context_of(plan, work.model, 4.0)
    cost = study_costs.cost_of(work, plan, context, H200, tmp_path / "results")
    (check,) = study_costs.check_memory([cost], small, "auto", None)
    assert check.state == "no" and "4 GB" in check.detail


def test_a_model_too_large_for_the_plan_is_a_no_on_a_larger_card(study, tmp_path):
    plan, jobs = planned(study.model_copy(update={"gpu_memory_gb": 4}))
    work = next(work for work in study_costs.works_of(plan, jobs) if work.stage == "adapters")
    card, context = study_costs.Card("NVIDIA H200", 150.0), context_of(plan, work.model, 4.0)
    cost = study_costs.cost_of(work, plan, context, H200, tmp_path / "results")
    (check,) = study_costs.check_memory([cost], card, 4, H200)
    assert check.state == "no" and "gpu_memory_gb is 4" in check.detail


def test_finished_jobs_replace_other_measurements(study, tmp_path):
    plan, jobs = planned(study)
    works = {(work.stage, work.model): work for work in study_costs.works_of(plan, jobs)}
    results, model = tmp_path / "results/paper", "llama-3.1-8b-instruct"
    work, context = works["adapters", model], context_of(plan, model, 150.0)
    before = study_costs.cost_of(work, plan, context, H200, results)
    assert before.basis.startswith("measured on NVIDIA H200") and before.seconds > 0
    folder = tmp_path / f"results/other/runs/model={model}/method=sft/format=list/lr=1e-4/seed=0/adapter"
    folder.mkdir(parents=True)
    took = {"device": H200.name, "seconds": 70.0, "training_seconds": 45.0, "validation_seconds": 5.0, "steps": 45}
    (folder / "metrics.json").write_text(json.dumps(took))
    for other in (f"soft_prompts/model={model}/format=list/seed=0", "runs/model=m/method=sft/adapter", "runs/adapter"):
        path = tmp_path / "results/other" / other / "metrics.json"  # of another stage, another model, none
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(took | {"training_seconds": 900.0}))
    measured = study_costs.cost_of(work, plan, context, H200, results)
    assert measured.seconds == pytest.approx(START_SECONDS + 20 + 50 * 90 / 45) and measured.basis == "1 finished"
    away = study_costs.cost_of(work, plan, context, None, results)
    assert (away.seconds, away.basis) == (measured.seconds, "1 finished on NVIDIA H200")
    (folder / "metrics.json").write_text(json.dumps(took | {"device": "another GPU"}))
    assert study_costs.cost_of(work, plan, context, H200, results) == before
    (folder / "metrics.json").write_text("torn")
    assert study_costs.cost_of(work, plan, context, H200, results) == before
