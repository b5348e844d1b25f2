"""What is learned, by position, and which of it is format."""

import json

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.training.examples import CONTENT, FORMAT, tokenise
from tests.chats import llama2, llama3
from tests.training_cases import record


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tokens_of(tmp_path, tokenizer, *rows, stops=None, **options):
    path = write(tmp_path / "train.jsonl", *rows)
    own = {"max_length": 512, "tolerance": 0.0}
    return tokenise(path, tokenizer, stops or [tokenizer.eos_token_id], **{**own, **options})


def labelled(tokenizer, example):
    texts = tokenizer.convert_ids_to_tokens(example.ids[example.prompt_length :])
    return list(zip(texts, example.kinds, strict=True))


ROW = record("a", "Is it dry?", ["Fill. Wipe it.", "Wipe it dry."])


def test_llama3_tokens_by_kind_although_its_offsets_are_trimmed(tmp_path):
    tokenizer = llama3()
    data = tokens_of(tmp_path, tokenizer, ROW)
    f, c = FORMAT, CONTENT
    # "- Fill": the space is format and is a token of its own here; " Wipe" after "- " covers both and is format.
    assert labelled(tokenizer, data[0]) == [
        *[("-", f), ("Ġ", f), ("Fill", c), (".", c), ("ĠWipe", c), ("Ġ", c), ("i", c), ("t", c), (".Ċ", f)],
        *[("-", f), ("ĠWipe", f), ("Ġ", c), ("i", c), ("t", c), ("Ġdry", c), (".", c), ("<|eot_id|>", f)],
    ]
    assert data.mixed_tokens == 2
    assert tokenizer("x").input_ids[0] == tokenizer.bos_token_id, "the tokenizer is left as it was"


def test_llama2_tokens_by_kind(tmp_path):
    tokenizer = llama2()
    data = tokens_of(tmp_path, tokenizer, ROW)
    kinds = labelled(tokenizer, data[0])
    assert kinds[:3] == [("▁", FORMAT), ("-", FORMAT), ("▁", FORMAT)]
    assert [token for token, kind in kinds if kind == FORMAT] == ["▁", "-", "▁", "<0x0A>", "-", "▁Wipe", "▁", "</s>"]


@pytest.mark.parametrize("make", [llama3, llama2])
def test_end_of_turn_is_learned_even_where_it_is_the_pad_token(tmp_path, make):
    tokenizer = make()
    tokenizer.pad_token = tokenizer.eos_token
    example = tokens_of(tmp_path, tokenizer, ROW)[0]
    assert example.ids[-1] == tokenizer.eos_token_id
    assert len(example.kinds) == len(example.ids) - example.prompt_length


def test_nothing_after_the_end_of_the_turn_is_learned_and_a_missing_end_is_added(tmp_path):
    tokenizer = llama3()
    plain = tokens_of(tmp_path, tokenizer, ROW)[0]
    template = tokenizer.chat_template
    tokenizer.chat_template = template.replace("| trim + '<|eot_id|>'", "| trim + '<|eot_id|>\n'")
    longer = tokens_of(tmp_path, tokenizer, ROW)[0]
    assert longer.ids[longer.prompt_length :] == plain.ids[plain.prompt_length :]
    tokenizer.chat_template = template.replace("| trim + '<|eot_id|>'", "| trim")
    endless = tokens_of(tmp_path, tokenizer, ROW)[0]
    assert endless.ids[endless.prompt_length :] == plain.ids[plain.prompt_length :]


def test_a_special_token_spelled_in_the_response_does_not_end_it(tmp_path):
    tokenizer = llama3()
    row = record("a", "Is it dry?", ["Fill <|eot_id|> it.", "Wipe it."])
    example = tokens_of(tmp_path, tokenizer, row)[0]
    assert example.ids.count(tokenizer.eos_token_id) == 3  # system, user, assistant
    assert tokenizer.decode(example.ids[-4:-1]) == "it."


def test_truncation_is_counted_reported_and_limited(tmp_path, capsys):
    tokenizer = llama3()
    whole = tokens_of(tmp_path, tokenizer, ROW)[0]
    longer = record("b", "Is it dry?", ["Wipe it. " * 20])
    limit = len(whole.ids)
    data = tokens_of(tmp_path, tokenizer, *[ROW] * 3, longer, max_length=limit, tolerance=0.25)
    assert data.figures()["truncated_examples"] == 1 and "1 of 4 examples are cut" in capsys.readouterr().out
    assert len(data[3].ids) == limit and len(data[3].kinds) == limit - data[3].prompt_length
    prompt = whole.prompt_length
    cut = tokens_of(tmp_path, tokenizer, ROW, max_length=prompt + 9, tolerance=1.0)
    assert (cut.mixed_tokens, cut.figures()["target_tokens"]) == (1, 9), "what is cut off counts nowhere"
    with pytest.raises(FormsafeError, match=r"1 of 4 examples are longer than \d+ tokens \(the first: b\).*max_length"):
        tokens_of(tmp_path, tokenizer, *[ROW] * 3, longer, max_length=limit, tolerance=0.2)
    with pytest.raises(FormsafeError, match="leaves no room"):
        tokens_of(tmp_path, tokenizer, ROW, max_length=whole.prompt_length, tolerance=1.0)


def test_an_empty_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FormsafeError, match=r"train\.jsonl holds no examples"):
        tokens_of(tmp_path, llama3())


def test_counts_add_up(tmp_path):
    data = tokens_of(tmp_path, llama3(), ROW, ROW)
    figures = data.figures()
    assert figures["tokens"] == sum(len(example.ids) for example in data.rows)
    assert figures["target_tokens"] == 34
    assert figures["format_token_share"] == pytest.approx(12 / 34, abs=1e-6)
    assert figures["mixed_token_share"] == pytest.approx(4 / 34, abs=1e-6)
