"""The toy model: its tokenizer in Llama-3's shape, the same weights every time, and a check that can fail."""

import multiprocessing
import os
import signal
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch

from formsafe.config.settings.demo import DemoSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json
from formsafe.demo import build, check
from formsafe.demo.documents import Example, draw_examples
from formsafe.demo.encoder import sentence_weights, token_frequencies
from formsafe.demo.grammar import draw_tasks
from formsafe.demo.model import _summed_loss, encode, new_model
from formsafe.demo.saving import save_folder
from formsafe.demo.tokenizer import SPECIAL_TOKENS, chat_texts, train_tokenizer
from formsafe.models.chat import render_exchange, render_prompt
from formsafe.models.load import end_of_turn_ids, load_tokenizer

SMALL = DemoSettings(threads=1, hidden_size=32, layers=1, steps=3, batch_size=4, judgements=4, max_new_tokens=4)
PROMPT = Path(__file__).resolve().parents[3] / "workflow/prompts/judge_demo.txt"


@pytest.fixture(scope="module")
def examples():
    return list(islice(draw_examples(draw_tasks(SMALL), PROMPT.read_text(), Random(0)), 200))


@pytest.fixture(scope="module")
def tokenizer(examples):
    return train_tokenizer((text for example in examples for text in (example.prompt, example.text) if text), 600)


def test_training_texts_are_what_the_chat_template_writes(tokenizer, examples):
    for example in [example for example in examples if example.prompt is not None][:30]:
        given, learned = chat_texts(example.prompt, example.text)
        exchange = render_exchange(tokenizer, example.prompt, example.text)
        assert given + learned == exchange.text
        (encoded,) = encode(tokenizer, [example])
        assert encoded.ids == exchange.ids
        assert encoded.ids[: encoded.given] == render_prompt(tokenizer, example.prompt)


def test_special_tokens_are_single_and_pad_is_none_that_ends_a_text(tokenizer):
    ids = tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS)
    assert len(set(ids)) == len(SPECIAL_TOKENS)
    assert [tokenizer.encode(token, add_special_tokens=False) for token in SPECIAL_TOKENS] == [[index] for index in ids]
    stops = end_of_turn_ids(tokenizer, new_model(tokenizer, SMALL))
    assert set(stops) == set(tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|end_of_text|>"]))
    assert tokenizer.pad_token_id not in stops


def test_plain_text_gets_bos_and_any_text_survives_the_tokenizer(tokenizer):
    text = "Größe 12 345\r\n\tdéjà vu… 日本語 '}\"] it's"
    assert tokenizer(text).input_ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_loss_is_that_of_each_example_alone(tokenizer, examples):
    torch.manual_seed(0)
    model = new_model(tokenizer, SMALL)
    group = encode(tokenizer, [*examples[:5], Example("a", "b", 3.0)])
    together = _summed_loss(model, group)
    alone = torch.zeros(())
    for example in group:
        ids = torch.tensor([example.ids])
        labels = ids.clone()
        labels[:, : example.given] = -100
        loss = model(input_ids=ids, labels=labels).loss
        alone = alone + loss * example.weight * (len(example.ids) - example.given)
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)


def test_two_trainings_write_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "HOW_TOS", 2)
    lax = SMALL.model_copy(update={"max_base_asr": 1.0, "min_judge_accuracy": 0.0, "requests": 1})
    for name in ("one", "two"):
        build.train_demo_model(PROMPT, lax, tmp_path / name / "model", tmp_path / name / "metrics.json", "abc")
    files = {file.name for file in (tmp_path / "one" / "model").iterdir()}
    assert files >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    for name in files:
        assert (tmp_path / "one" / "model" / name).read_bytes() == (tmp_path / "two" / "model" / name).read_bytes()
    assert {entry.name for entry in (tmp_path / "one").iterdir()} == {"model", "metrics.json"}
    metrics = read_json(tmp_path / "one" / "metrics.json")
    assert {"base_asr", "judge_accuracy", "how_to_rate", "seconds", "code"} <= set(metrics)
    assert load_tokenizer(tmp_path / "one" / "model").chat_template


def _write_half(folder: Path) -> None:
    (folder / "model.safetensors").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_kill_left_is_gone_when_the_model_is_saved_again(tokenizer, tmp_path):
    for _ in range(2):
        writer = multiprocessing.get_context("fork").Process(target=save_folder, args=(tmp_path / "model", _write_half))
        writer.start()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    build.save(new_model(tokenizer, SMALL), tokenizer, tmp_path / "model")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "model.safetensors").stat().st_size > 1000


def test_an_untrained_model_fails_the_check_with_its_numbers_and_writes_nothing(tmp_path):
    settings = SMALL.model_copy(update={"steps": 1, "requests": 1})
    with pytest.raises(FormsafeError, match=r"judges 0\.000 of 4"):
        build.train_demo_model(PROMPT, settings, tmp_path / "model", tmp_path / "metrics.json", "abc")
    assert list(tmp_path.iterdir()) == []


def test_frequent_tokens_hardly_count_in_a_sentence(tokenizer):
    frequencies = token_frequencies(tokenizer.backend_tokenizer, draw_tasks(SMALL), 0)
    assert frequencies.sum().item() == pytest.approx(1, abs=1e-5)
    weights = sentence_weights(torch.randn(len(tokenizer), 8), frequencies).norm(dim=1)
    assert weights[tokenizer.convert_tokens_to_ids("Ġthe")].item() < 0.1
    assert weights[frequencies == 0].tolist() == pytest.approx([1.0] * int((frequencies == 0).sum()), abs=1e-5)
