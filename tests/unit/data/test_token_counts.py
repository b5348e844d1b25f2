"""Token counts: the figures of every format, whatever the tokenizer."""

import sys
from types import SimpleNamespace

import pytest

from formsafe.core.files import write_json
from formsafe.data.records import Message, TrainingExample
from formsafe.data.token_counts import count_tokens


@pytest.fixture
def tokenizer(monkeypatch):
    """In place of the model's: a token a word. It notes how it was loaded and how many texts each call gave it."""
    seen = SimpleNamespace(loaded=[], texts=[])

    def load(folder, trust_remote_code):
        seen.loaded.append((folder, trust_remote_code))

        def encode(texts, add_special_tokens):
            seen.texts.append(len(texts))
            return {"input_ids": [["<s>"] * add_special_tokens + text.split() for text in texts]}

        return encode

    transformers = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=load))
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    return seen


def counted(folder, **responses):
    """The counts of formats whose training data has these responses."""
    model = {"name": "tiny", "path": str(folder), "repo": None, "revision": None}
    write_json(folder / "model.json", model)
    train = {name: folder / f"{name}.jsonl" for name in responses}
    for name, texts in responses.items():
        turns = [(Message(role="user", content="How?"), Message(role="assistant", content=text)) for text in texts]
        rows = (TrainingExample(id=str(number), messages=turn, spans=[]) for number, turn in enumerate(turns))
        TrainingExample.write(train[name], rows)
    return count_tokens(folder / "model.json", train, folder / "counts.json")["formats"]


def test_mean_longest_and_ratio_of_tokens(tmp_path, tokenizer):
    figures = counted(tmp_path, list=["a b c", "a b", "a b"], prose=["a", "a", "a"], json=["a b c", "a", "a b c d"])
    assert figures == {
        "list": {"examples": 3, "tokens": 7, "mean": 2.33, "longest": 3, "ratio_to_cheapest": 2.3333},
        "prose": {"examples": 3, "tokens": 3, "mean": 1.0, "longest": 1, "ratio_to_cheapest": 1.0},
        "json": {"examples": 3, "tokens": 8, "mean": 2.67, "longest": 4, "ratio_to_cheapest": 2.6667},
    }


def test_the_tokenizer_runs_no_code_of_strangers(tmp_path, tokenizer):
    counted(tmp_path, prose=["a"])
    assert tokenizer.loaded == [(tmp_path, False)]


def test_a_tokenizer_is_given_a_thousand_texts_at_a_time(tmp_path, tokenizer):
    assert counted(tmp_path, prose=["a b"] * 1001)["prose"]["tokens"] == 2002
    assert tokenizer.texts == [1000, 1]
