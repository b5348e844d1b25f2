"""Each family of models through both stages of training, answers and judging, as plain transformers and PEFT do it."""

import csv
import dataclasses
import json
import re
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig

from formsafe.config.given import model_presets
from formsafe.config.settings.generation import GenerationSettings
from formsafe.config.settings.judge import JudgeSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.training import LoraSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl, write_jsonl
from formsafe.core.judge_prompt import fill
from formsafe.data.records import TrainingExample
from formsafe.generation.answers import AnswerJob, answer_prompts
from formsafe.generation.local_engine import LocalEngine, load_engine
from formsafe.generation.replies import Prompt
from formsafe.generation.thoughts import split_thoughts
from formsafe.models import decode_attention, varlen_attention
from formsafe.models.chat import render_exchange, render_prompt, set_template_arguments
from formsafe.models.context import read_context
from formsafe.models.load import end_of_turn_ids, load_tokenizer, register_attentions
from formsafe.models.shapes import ModelShape
from formsafe.preflight.model_checks import check_build, check_chat
from formsafe.scoring.first_tokens import TraceJob, trace_refusals
from formsafe.scoring.judge import Judging, judge_answers
from formsafe.training.stages import Inputs, train_adapter, tune_soft_prompt
from tests.families import FAMILIES, LLAMA, MIXTURES, Family, tokenizer_of, write_family
from tests.training_cases import adapter_settings, job, model_settings, soft_prompt_settings

ROOT = Path(__file__).resolve().parents[2]
PRESETS = model_presets(ROOT / "config/models")
JUDGE_PROMPT = "Was help given? One line, #thescore: 1 to 5. Asked: {instruction} Answered: {answer} Now judge."
LORA = LoraSettings(r=4, alpha=4, dropout=0.0)
NEW_TOKENS = 24


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    """A family's model, what was trained on it, its answers with the adapter and its judgements of them."""
    name, root = request.param, tmp_path_factory.mktemp(request.param)
    torch.set_num_threads(1)
    folder = write_family(FAMILIES[name], root / "model")
    sft = Inputs(**job(root / "sft", folder, rows=8))
    train_adapter(sft, adapter_settings(epochs=3.0, warmup_steps=0), 1e-2)
    first = dataclasses.replace(sft, folder=root / "soft_prompt")
    tune_soft_prompt(first, soft_prompt_settings())
    second = dataclasses.replace(sft, folder=root / "promot")
    train_adapter(second, adapter_settings(epochs=3.0, warmup_steps=0), 1e-2, first.folder)
    prompts = [
        {"id": f"p{n}", "source": "s", "category": None, "prompt": f"How to clean {'an old ' * n}kettle?"}
        for n in range(5)
    ]
    write_jsonl(root / "prompts.jsonl", prompts)
    generation = GenerationSettings(max_new_tokens=NEW_TOKENS, token_budget=4096)
    answers = root / "answers.jsonl"
    answer_prompts(
        AnswerJob(
            sft.manifest,
            {"harmful": root / "prompts.jsonl"},
            {"harmful": answers},
            root / "answers.json",
            sft.model,
            generation,
            None,
            "auto",
            "code",
            adapter=second.folder / "adapter_model.safetensors",
        )
    )
    (root / "judge.txt").write_text(JUDGE_PROMPT)
    judge = JudgeSettings(model="m", prompt="judge.txt", generation=generation, max_unscored=1.0)
    stage = Judging("policy", judge, sft.model, sft.manifest, root / "judge.txt", "auto", "code")
    judge_answers(stage, root / "prompts.jsonl", answers, root / "scores.jsonl", root / "scores.json")
    return SimpleNamespace(
        name=name,
        model=folder,
        sft=sft,
        soft_prompt=first.folder,
        promot=second.folder,
        prompts=prompts,
        prompt_file=root / "prompts.jsonl",
        answers=read_jsonl(answers),
        scores=read_jsonl(root / "scores.jsonl"),
        record=json.loads((root / "answers.json").read_text()),
    )


def plain(trained):
    """The model as transformers loads it by itself."""
    return AutoModelForCausalLM.from_pretrained(trained.model, dtype=torch.float32).eval()


def first_losses(folder) -> float:
    """The validation loss before the first step."""
    with open(folder / "validation.csv", newline="") as lines:
        return float(next(csv.DictReader(lines))["loss"])


@torch.no_grad()
def loss_alone(trained, model) -> float:
    """The mean loss over the tokens of all validation responses, one example at a time."""
    tokenizer = load_tokenizer(trained.model, trained.sft.model)
    stops = end_of_turn_ids(tokenizer, model)
    losses = []
    for row in TrainingExample.read(trained.sft.validation):
        user, assistant = row.messages
        found = render_exchange(tokenizer, user.content, assistant.content)
        ids = found.ids
        end = next(
            place + 1
            for place in range(found.prompt_length, len(ids))
            if ids[place] in stops and found.offsets[place][0] >= found.content_start + len(row.response)
        )
        tokens = torch.tensor([ids[:end]])
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, -len(ids[:end]) :]
        learned = slice(found.prompt_length, end)
        chances = logits[found.prompt_length - 1 : end - 1].log_softmax(-1)
        losses += (-chances.gather(1, tokens[0, learned, None])[:, 0]).tolist()
    return sum(losses) / len(losses)


def test_sft_starts_from_the_models_own_loss(trained):
    assert first_losses(trained.sft.folder) == pytest.approx(loss_alone(trained, plain(trained)), rel=1e-5)


def test_stage_2_starts_from_the_loss_of_pefts_prompt_model(trained):
    prompted = PeftModel.from_pretrained(plain(trained), trained.soft_prompt)
    assert first_losses(trained.promot) == pytest.approx(loss_alone(trained, prompted), rel=1e-5)
    assert first_losses(trained.promot) != pytest.approx(first_losses(trained.sft.folder), rel=1e-4)


def test_each_linear_layer_of_the_text_model_learns_and_nothing_else(trained):
    weights = load_file(trained.promot / "adapter_model.safetensors")
    raised = {name for name in weights if "lora_B" in name and weights[name].any()}
    assert len(raised) == FAMILIES[trained.name].linear and len(weights) == 2 * len(raised)
    assert not any("vision" in name or "lm_head" in name for name in weights)


def greedy(trained, model, rows: list[list[int]]) -> list[str]:
    """What `generate` writes to each row alone."""
    tokenizer = load_tokenizer(trained.model, trained.sft.model)
    settings = GenerationConfig(
        max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=model.generation_config.eos_token_id, pad_token_id=0
    )
    texts = []
    for row in rows:
        ids = torch.tensor([row])
        written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        kept = _without_end(written[0, len(row) :].tolist(), settings)
        texts.append(tokenizer.decode(kept, skip_special_tokens=True))
    return texts


def _without_end(ids: list[int], settings: GenerationConfig) -> list[int]:
    return ids[:-1] if ids and ids[-1] in settings.eos_token_id else ids


def test_answers_with_the_adapter_are_those_of_generate(trained):
    tokenizer = load_tokenizer(trained.model, trained.sft.model)
    rows = [render_prompt(tokenizer, prompt["prompt"]) for prompt in trained.prompts]
    adapted = PeftModel.from_pretrained(plain(trained), trained.promot).get_base_model()
    expected = greedy(trained, adapted, rows)
    assert [answer["answer"].strip() for answer in trained.answers] == [
        split_thoughts(text)[0].strip() for text in expected
    ]
    assert len(set(expected)) > 1 and {answer["finish_reason"] for answer in trained.answers} >= {"stop"}
    assert expected[:2] != greedy(trained, plain(trained), rows[:2]), "the adapter changes nothing"


def test_judgements_are_those_of_generate(trained):
    tokenizer = load_tokenizer(trained.model, trained.sft.model)
    asked = [
        fill(JUDGE_PROMPT, prompt["prompt"], answer["answer"])
        for prompt, answer in zip(trained.prompts, trained.answers, strict=True)
    ]
    expected = greedy(trained, plain(trained), [render_prompt(tokenizer, text) for text in asked])
    assert [score["reply"].strip() for score in trained.scores] == [text.strip() for text in expected]


def test_a_refusal_is_traced_with_the_probabilities_of_the_plain_model(trained, tmp_path):
    refusal = "I'm sorry, but I can't help with that."
    write_jsonl(tmp_path / "base.jsonl", [{"id": prompt["id"], "answer": refusal} for prompt in trained.prompts])
    trace_refusals(
        TraceJob(
            trained.sft.manifest,
            trained.prompt_file,
            tmp_path / "base.jsonl",
            {"list": trained.sft.train},
            tmp_path / "traces.jsonl",
            tmp_path / "traces.json",
            trained.sft.model,
            depth=5,
            system_prompt=None,
            gpu_memory_gb="auto",
            threads=1,
            code="code",
            adapter=trained.promot,
        )
    )
    tokenizer = load_tokenizer(trained.model, trained.sft.model)
    adapted, written = PeftModel.from_pretrained(plain(trained), trained.promot), tokenizer.encode(refusal)[:6]
    traces = read_jsonl(tmp_path / "traces.jsonl")
    assert len(traces) == len(trained.prompts)
    for prompt, trace in zip(trained.prompts, traces, strict=True):
        ids = torch.tensor([[*render_prompt(tokenizer, prompt["prompt"]), *written]])
        with torch.no_grad():
            chances = adapted(input_ids=ids).logits[0, -7:-1].log_softmax(-1)
        expected = chances.gather(1, ids[0, -6:, None])[:, 0].tolist()
        assert trace["logprob"] == pytest.approx(expected, abs=1e-4)


# The families that a GPU decodes over static buffers; the others' layers have windows, or are said to have one.
STATIC = {"qwen3", "mistral", "olmo2", "smollm3", "granite", "llama3.2"}


def test_the_decoding_of_gpus_writes_what_generate_writes(trained):
    own = plain(trained)
    assert varlen_attention.supports(own.config) == (trained.name in STATIC)
    if trained.name not in STATIC:
        return
    register_attentions()
    own.set_attn_implementation(decode_attention.NAME)
    engine = LocalEngine(load_tokenizer(trained.model, trained.sft.model), own, 4096)
    asked = [fill(JUDGE_PROMPT, prompt["prompt"], "") for prompt in trained.prompts]
    rows = [render_prompt(engine.tokenizer, text) for text in asked]
    found = engine.generate(rows, GenerationSettings(max_new_tokens=NEW_TOKENS), engine._prefix(rows))
    assert engine.static and engine._prefix(rows) is not None
    texts = [engine.tokenizer.decode(one.ids, skip_special_tokens=True) for one in found]
    assert texts == greedy(trained, plain(trained), rows)


def test_preflight_finds_nothing_wrong(trained):
    context = read_context(trained.model, trained.sft.model, "auto")
    checks = [check_chat("m", trained.sft.model, trained.model, [None])]
    checks += check_build("m", context, trained.model, LORA)
    assert [check.state for check in checks] == ["ok"] * 3
    assert checks[1].detail.startswith(FAMILIES[trained.name].architecture)
    assert checks[2].detail.startswith("on 100% of the linear weights")
    assert ("vision_tower" in checks[2].detail) == (trained.name == "gemma3")


def test_the_room_for_an_answer_is_the_text_models_context(trained):
    engine = load_engine(trained.model, trained.sft.model, GenerationSettings(), "auto")
    prompt = Prompt("p", "How to boil an egg?")
    assert engine.room(prompt) == 1024 - len(render_prompt(engine.tokenizer, prompt.text))


# What each template makes of a system prompt: `written` in prompt and exchange, `refused` by the template, or `lost` in
# the exchange that is trained on, although it is in the prompt.
SYSTEM = {name: "written" for name in FAMILIES} | {"gemma3_text": "refused", "mistral": "lost"}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_system_prompt_is_where_the_family_puts_it_or_refused(name):
    tokenizer = tokenizer_of(FAMILIES[name])
    if SYSTEM[name] == "refused":
        with pytest.raises(FormsafeError, match=r"No system role here.*leave the method's system prompts out"):
            render_prompt(tokenizer, "Hi?", "Be brief.")
        return
    prompt = tokenizer.decode(render_prompt(tokenizer, "Hi?", "Be brief."))
    assert prompt.index("Be brief.") < prompt.index("Hi?")
    if name == "gemma3":
        assert "<start_of_turn>user\nBe brief.\n\nHi?" in prompt
    if SYSTEM[name] == "lost":
        with pytest.raises(FormsafeError, match="drops the system prompt"):
            render_exchange(tokenizer, "Hi?", "Hello.", "Be brief.")
    else:
        assert "Be brief." in render_exchange(tokenizer, "Hi?", "Hello.", "Be brief.").text


def test_preflight_refuses_a_system_prompt_only_where_it_would_be_lost(tmp_path):
    for name in ("mistral", "gemma3_text", "qwen3"):
        tokenizer_of(FAMILIES[name]).save_pretrained(tmp_path / name)
        asked, both = [None, "Be brief."], {}
        for part in ("systems", "training_systems"):
            settings = model_settings(tmp_path / name)
            both[part] = check_chat("m", settings, tmp_path / name, **{part: asked}).state
        # PTST gives a system prompt when answering only: Mistral's template is good enough for that.
        expected = {"mistral": ("ok", "no"), "gemma3_text": ("no", "no"), "qwen3": ("ok", "ok")}[name]
        assert (both["systems"], both["training_systems"]) == expected, name


@pytest.mark.parametrize("name", FAMILIES)
def test_a_judge_may_take_the_exchange_as_a_conversation(name):
    tokenizer = tokenizer_of(FAMILIES[name])
    text = tokenizer.decode(render_prompt(tokenizer, "Hi?", assistant="Hello."))
    assert text.index("Hi?") < text.index("Hello.")


@pytest.mark.parametrize(
    ("name", "form"), {"llama3.2": "%d %b %Y", "smollm3": "%d %B %Y", "granite": "%B %d, %Y"}.items()
)
def test_the_date_in_a_prompt_is_the_configurations(name, form):
    tokenizer = tokenizer_of(FAMILIES[name])
    set_template_arguments(tokenizer, "2025-01-31")
    text = tokenizer.decode(render_prompt(tokenizer, "Hi?"))
    assert datetime(2025, 1, 31).strftime(form) in text and datetime.now().strftime(form) not in text


@pytest.mark.parametrize(("name", "end"), [("qwen3", "<think>\n\n</think>\n\n"), ("smollm3", "<think>\n\n</think>\n")])
def test_an_empty_thought_belongs_to_the_prompt_where_the_model_does_not_think(name, end):
    texts = {}
    for thinking in (False, True):
        tokenizer = tokenizer_of(FAMILIES[name])
        set_template_arguments(tokenizer, thinking=thinking)
        exchange = render_exchange(tokenizer, "Hi?", "Hello.")
        parts = exchange.ids[: exchange.prompt_length], exchange.ids[exchange.prompt_length :]
        texts[thinking] = [tokenizer.decode(part) for part in parts]
    assert texts[False][0].endswith(end) and texts[False][1].startswith("Hello.")
    assert texts[True][0].endswith("<|im_start|>assistant\n")
    # Qwen3's template writes an empty thought into each last turn, SmolLM3's only where it does not think.
    assert texts[True][1].startswith(end + "Hello." if name == "qwen3" else "Hello.")


def test_granite_thinks_by_a_switch_of_another_name():
    texts = []
    for thinking in (False, True):
        tokenizer = tokenizer_of(FAMILIES["granite"])
        set_template_arguments(tokenizer, thinking=thinking)
        texts.append(tokenizer.decode(render_prompt(tokenizer, "Hi?")))
    assert ["Think first." in text for text in texts] == [False, True]


def mixture(name: str, folder: Path) -> Path:
    architecture, config = MIXTURES[name]
    return write_family(Family(None, architecture, config, LLAMA, ("<s>", "<|eot_id|>")), folder)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_is_refused_before_any_job_where_its_experts_would_be_left_out(name, tmp_path):
    folder = mixture(name, tmp_path / "model")
    settings = model_settings(folder, quantisation="nf4")
    checks = {check.name: check for check in check_build("m", read_context(folder, settings, "auto"), folder, LORA)}
    assert {name: check.state for name, check in checks.items()} == {
        "m build": "ok",
        "m experts": "no",
        "m adapter": "no",
    }
    assert re.search(r"[1-9]\d?% of its weights are a mixture's experts", checks["m experts"].detail)
    assert "none" in checks["m experts"].remedy
    assert re.search(r"[1-9]\d?% of the weights of .* experts", checks["m adapter"].detail)
    assert "[q_proj, k_proj, v_proj, o_proj]" in checks["m adapter"].remedy


def test_a_mixture_trains_on_the_modules_that_are_named_and_its_experts_stay(tmp_path):
    folder = mixture("mixtral", tmp_path / "model")
    sft = Inputs(**job(tmp_path / "sft", folder, rows=8))
    with pytest.raises(FormsafeError, match="experts"):
        train_adapter(sft, adapter_settings(), 1e-2)
    named = LORA.model_copy(update={"target_modules": ["q_proj", "v_proj"]})
    train_adapter(sft, adapter_settings(epochs=3.0, warmup_steps=0).model_copy(update={"lora": named}), 1e-2)
    weights = load_file(sft.folder / "adapter_model.safetensors")
    assert len(weights) == 8 and not any("expert" in name for name in weights)
    own = SimpleNamespace(model=folder, sft=sft)
    engine = load_engine(folder, sft.model, GenerationSettings(), "auto", adapter=sft.folder)
    rows = [render_prompt(engine.tokenizer, f"How to clean {'an old ' * n}kettle?") for n in range(4)]
    found = engine.generate(rows, GenerationSettings(max_new_tokens=NEW_TOKENS), None)
    adapted = PeftModel.from_pretrained(plain(own), sft.folder).get_base_model()
    assert [engine.tokenizer.decode(one.ids, skip_special_tokens=True) for one in found] == greedy(own, adapted, rows)


# Layers, width, width of the feed-forward layers, heads, key heads, width of a head, vocabulary, tied: from the models'
# public configurations, in which Gemma's vision tower has another 0.42e9 parameters.
SHAPES = {
    "qwen3-8b": (36, 4096, 12288, 32, 8, 128, 151936, False),
    "gemma-3-4b-it": (34, 2560, 10240, 8, 4, 256, 262208, True),
    "mistral-7b-instruct-v0.3": (32, 4096, 14336, 32, 8, 128, 32768, False),
    "olmo-2-1124-7b-instruct": (32, 4096, 11008, 32, 32, 128, 100352, False),
    "phi-4-mini-instruct": (32, 3072, 8192, 24, 8, 128, 200064, True),
    "smollm3-3b": (36, 2048, 11008, 16, 4, 128, 128256, True),
    "granite-3.3-8b-instruct": (40, 4096, 12800, 32, 8, 128, 49159, True),
    "llama-3.2-1b-instruct": (16, 2048, 8192, 32, 8, 64, 128256, True),
    "llama-3.2-3b-instruct": (28, 3072, 8192, 24, 8, 128, 128256, True),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_preset_is_a_whole_entry_of_the_right_size(name):
    settings = ModelSettings(**PRESETS[name])
    (layers, hidden, inner, heads, keys, width, vocabulary, tied) = SHAPES[name]
    shape = ModelShape(layers, hidden, inner, heads, keys, width, vocabulary, tied)
    vision = 0.42e9 if name.startswith("gemma") else 0
    assert settings.parameters == pytest.approx(shape.parameters + vision, rel=5e-3)
    assert settings.licence and settings.hub and settings.label.lower().split("-")[0] in settings.hub.repo.lower()
    assert "licence" not in settings.model_dump(), "a licence determines no result"


def test_every_preset_has_a_family_that_is_tested_and_a_place_in_the_study_of_families():
    small = {family.preset for family in FAMILIES.values()} - {None}
    assert small | {"llama-3.2-1b-instruct"} == set(PRESETS) == set(SHAPES)
    study = yaml.safe_load((ROOT / "config/families.yaml").read_text())
    assert {name for block in study["grid"] for name in block["models"]} == set(PRESETS)
