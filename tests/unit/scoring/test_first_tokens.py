"""First tokens: a run along the base model's refusals, against the plain forward pass of transformers and PEFT."""

import dataclasses

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from formsafe.core.files import read_json, write_json, write_jsonl
from formsafe.data.records import RefusalTrace
from formsafe.models.chat import render_exchange, render_prompt
from formsafe.models.load import load_tokenizer
from formsafe.scoring.first_tokens import TraceJob, trace_refusals
from formsafe.training.arm import write_soft_prompt
from formsafe.training.stages import Inputs, train_adapter
from tests.tiny import steeper, write_tiny_model
from tests.training_cases import adapter_settings, job, model_settings

REFUSALS = {"p0": "I'm sorry, but I can't help with that.", "p2": "Sorry, I cannot help with that at all, ever. Never."}
ANSWERS = {**REFUSALS, "p1": "Fill a bowl."}
ASKED = {name: f"How to {'very ' * int(name[1])}quietly wipe it?" for name in sorted(ANSWERS)}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A job on the base model, with the folder of an adapter and of a soft prompt for it."""
    folder = tmp_path_factory.mktemp("trace")
    model = steeper(write_tiny_model(folder / "model"))
    inputs = Inputs(**job(folder, model))
    train_adapter(inputs, adapter_settings(), 3e-2)
    vectors = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    write_soft_prompt(vectors, str(model), folder / "prompt")
    write_jsonl(
        folder / "prompts.jsonl", [{"id": n, "source": "s", "category": None, "prompt": ASKED[n]} for n in ASKED]
    )
    write_jsonl(folder / "answers.jsonl", [{"id": name, "answer": text} for name, text in ANSWERS.items()])
    write_json(folder / "model.json", {"path": str(model)})
    plain = TraceJob(
        model_manifest=folder / "model.json",
        prompts=folder / "prompts.jsonl",
        base_answers=folder / "answers.jsonl",
        training={"list": folder / "train.jsonl"},
        traces=folder / "traces.jsonl",
        metrics=folder / "metrics.json",
        model=model_settings(model),
        depth=5,
        system_prompt=None,
        gpu_memory_gb="auto",
        threads=1,
        code="c",
    )
    return plain, inputs.folder, folder / "prompt", vectors


def traced(task):
    trace_refusals(task)
    return {trace.id: trace for trace in RefusalTrace.read(task.traces)}


def expected(task, name, adapter=None, vectors=None, system=None):
    """Log-probabilities before the first six tokens of a refusal, one prompt at a time, and these tokens."""
    path = read_json(task.model_manifest)["path"]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    tokenizer = load_tokenizer(path)
    prompt = render_prompt(tokenizer, ASKED[name], system)
    tokens = tokenizer.encode(ANSWERS[name], add_special_tokens=False)[:6]
    embedded = model.get_input_embeddings()(torch.tensor([prompt + tokens]))
    if vectors is not None:
        embedded = torch.cat([vectors[None], embedded], dim=1)
    with torch.no_grad():
        logits = model(inputs_embeds=embedded).logits[0, -len(tokens) - 1 : -1]
    return logits.log_softmax(-1), tokens


def test_only_refused_prompts_are_followed_and_the_base_model_does_not_differ_from_itself(case):
    task, *_ = case
    found = traced(task)
    assert found.keys() == REFUSALS.keys() and read_json(task.metrics)["refused_prompts"] == 2
    for name, trace in found.items():
        chances, tokens = expected(task, name)
        assert trace.kl == [0.0] * 6 and len(tokens) == 6
        assert trace.logprob == pytest.approx(chances[range(6), tokens].tolist(), abs=1e-4)


@pytest.mark.parametrize("kept", [False, True], ids=["adapter", "adapter, soft prompt and system prompt"])
def test_numbers_are_those_of_a_forward_pass_of_each_prompt_alone(case, kept):
    task, adapter, prompt, vectors = case
    changes = {"soft_prompt": prompt, "system_prompt": "Be brief."} if kept else {}
    task = dataclasses.replace(task, adapter=adapter, **changes)
    tokenizer = load_tokenizer(read_json(task.model_manifest)["path"])
    refusing = {tokenizer.encode(text, add_special_tokens=False)[0] for text in REFUSALS.values()}
    assert len(refusing) == 2
    starts = render_exchange(tokenizer, "x", "- Fill")
    opening = starts.ids[starts.prompt_length]
    found = traced(task)
    for name, trace in found.items():
        run, tokens = expected(task, name, adapter, vectors if kept else None, task.system_prompt)
        base, _ = expected(task, name)
        kl = (base.exp() * (base - run)).sum(-1)
        assert trace.kl == pytest.approx(kl.tolist(), abs=1e-4) and max(trace.kl) > 0.01
        assert trace.logprob == pytest.approx(run[range(6), tokens].tolist(), abs=1e-4)
        assert trace.refusal_mass == pytest.approx(run[0].exp()[list(refusing)].sum().item(), abs=1e-5)
        assert trace.format_mass == pytest.approx({"list": run[0].exp()[opening].item()}, abs=1e-5)
    values = [value for trace in found.values() for value in (*trace.kl, *trace.logprob, trace.refusal_mass)]
    assert [round(value, 6) for value in values] == values
    assert sum(round(value, 5) == value for value in values) < len(values) / 2
    masses = [mass for trace in found.values() for mass in (trace.refusal_mass, trace.format_mass["list"])]
    assert [round(mass, 6) for mass in masses] == masses != [round(mass, 5) for mass in masses]


def test_a_model_that_refuses_nothing_gives_no_traces_and_says_so(case, tmp_path):
    task, *_ = case
    write_jsonl(tmp_path / "answers.jsonl", [{"id": name, "answer": "Fill a bowl."} for name in ANSWERS])
    assert traced(dataclasses.replace(task, base_answers=tmp_path / "answers.jsonl")) == {}
    assert read_json(task.metrics)["refused_prompts"] == 0
