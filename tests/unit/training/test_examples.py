"""What is learned, by position, and which of it is format."""

import json

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.core.texts import normalise
from formsafe.formats.registry import format_names, get_formats
from formsafe.formats.sentences import split_sentences
from formsafe.models.load import load_tokenizer
from formsafe.training import examples
from formsafe.training.examples import tokenise
from formsafe.training.token_kinds import (
    CONTENT,
    FORMAT,
    INTERIOR,
    MIXED,
    Word,
    interior_words,
    kinds_of,
    mark_interior,
)
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
    f, c, m, i = FORMAT, CONTENT, MIXED, INTERIOR
    # The space after "-" belongs to the word where the vocabulary has one with it (" Wipe"), else it is format. The
    # first word of a sentence and its full stop have other tokens in other formats, the words between do not.
    assert labelled(tokenizer, data.rows[0]) == [
        *[("-", f), ("Ġ", f), ("Fill", c), (".", c), ("ĠWipe", i), ("Ġ", i), ("i", i), ("t", i), (".Ċ", m)],
        *[("-", f), ("ĠWipe", c), ("Ġ", i), ("i", i), ("t", i), ("Ġdry", i), (".", c), ("<|eot_id|>", f)],
    ]
    assert tokenizer("x").input_ids[0] == tokenizer.bos_token_id, "the tokenizer is left as it was"


def test_blanks_that_a_template_strips_move_no_kind(tmp_path):
    tokenizer = llama3()
    spaced = {
        **ROW,
        "messages": [ROW["messages"][0], {"role": "assistant", "content": f"  {ROW['messages'][1]['content']}"}],
    }
    spaced["spans"] = [[0, 2, "format"], *([start + 2, end + 2, kind] for start, end, kind in ROW["spans"])]
    plain, moved = (labelled(tokenizer, tokens_of(tmp_path, tokenizer, row).rows[0]) for row in (ROW, spaced))
    assert moved == plain


def test_llama2_tokens_by_kind(tmp_path):
    tokenizer = llama2()
    kinds = labelled(tokenizer, tokens_of(tmp_path, tokenizer, ROW).rows[0])
    assert [token for token, kind in kinds if kind == FORMAT] == ["▁", "-", "▁", "<0x0A>", "-", "▁", "</s>"]
    # Without pre-tokens nothing says where a tokenizer may join the full stop to its word: the last word is left out.
    assert [token for token, kind in kinds if kind == INTERIOR] == ["▁Wipe", "▁", "i", "t"]
    assert MIXED not in {kind for _, kind in kinds}


def test_in_running_text_a_word_with_its_space_is_content(tmp_path):
    tokenizer = llama3()
    data = tokens_of(tmp_path, tokenizer, record("a", "Is it dry?", ["Fill it.", "Wipe it dry."], "prose"))
    kinds = labelled(tokenizer, data.rows[0])
    assert [token for token, kind in kinds if kind == FORMAT] == ["<|eot_id|>"]
    assert ("ĠWipe", CONTENT) in kinds and ("Ġdry", INTERIOR) in kinds


def test_a_token_over_a_word_and_a_mark_is_mixed_and_words_with_escapes_are_not_interior():
    text = r'["Say \"on\" or off now", "Go on."]'
    content = [(2, 23), (27, 33)]
    assert [text[start:end] for start, end in content] == [r"Say \"on\" or off now", "Go on."]
    offsets = [(0, 2), (2, 5), (5, 8), (8, 24), (24, 28), (28, 33), (33, 35)]
    assert kinds_of(text, content, offsets) == [FORMAT, CONTENT, CONTENT, MIXED, MIXED, CONTENT, FORMAT]
    words = interior_words(text, content, llama3())
    assert [text[word.start : word.end] for word in words] == [" or", " off", " on"]


def test_interior_words_whose_tokens_reach_beyond_them_are_not_marked():
    words, offsets = [Word(2, 5), Word(5, 9)], [(0, 2), (2, 4), (4, 6), (6, 9)]
    kinds = [CONTENT] * 4
    assert mark_interior(kinds, words, [7, 8, 9, 10], offsets) == [[], []]
    assert kinds == [CONTENT] * 4
    assert mark_interior(kinds, [Word(2, 6)], [7, 8, 9, 10], offsets) == [[8, 9]]
    assert kinds == [CONTENT, INTERIOR, INTERIOR, CONTENT]


@pytest.mark.parametrize(("field", "most"), [("summary", 1000), ("article", 1)])
def test_real_rows_have_the_same_interior_tokens_in_every_format(tmp_path, real_data, tiny_model, field, most):
    rows = [json.loads(line) for line in (real_data / "wikisum/train.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [split_sentences(normalise(row[field])) for row in rows[:most]]
    for tokenizer in (llama3(), llama2(), load_tokenizer(tiny_model)):
        found = []
        for name, format_ in get_formats(format_names()).items():
            records = []
            for number, sentences in enumerate(texts):
                rendered = format_.render(sentences)
                messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": rendered.text}]
                records.append({"id": f"{name}-{number}", "messages": messages, "spans": rendered.spans})
            data = tokens_of(tmp_path, tokenizer, *records, max_length=1_000_000)
            assert data.unaligned == 0
            interior = [
                token
                for row in data.rows
                for token, kind in zip(row.ids[row.prompt_length :], row.kinds, strict=True)
                if kind == INTERIOR
            ]
            found.append(sorted(interior) if format_.traits.plain else interior)
        assert len(found[0]) > 0.7 * sum(len(row.kinds) for row in data.rows)
        assert {len(interior) for interior in found} == {len(found[0])}
        assert len({tuple(sorted(interior)) for interior in found}) == 1


@pytest.mark.parametrize("make", [llama3, llama2])
def test_end_of_turn_is_learned_even_where_it_is_the_pad_token(tmp_path, make):
    tokenizer = make()
    tokenizer.pad_token = tokenizer.eos_token
    example = tokens_of(tmp_path, tokenizer, ROW).rows[0]
    assert example.ids[-1] == tokenizer.eos_token_id
    assert len(example.kinds) == len(example.ids) - example.prompt_length


def test_nothing_after_the_end_of_the_turn_is_learned_and_a_missing_end_is_added(tmp_path):
    tokenizer = llama3()
    plain = tokens_of(tmp_path, tokenizer, ROW).rows[0]
    template = tokenizer.chat_template
    tokenizer.chat_template = template.replace("| trim + '<|eot_id|>'", "| trim + '<|eot_id|>\n'")
    longer = tokens_of(tmp_path, tokenizer, ROW).rows[0]
    assert longer.ids[longer.prompt_length :] == plain.ids[plain.prompt_length :]
    tokenizer.chat_template = template.replace("| trim + '<|eot_id|>'", "| trim")
    endless = tokens_of(tmp_path, tokenizer, ROW).rows[0]
    assert endless.ids[endless.prompt_length :] == plain.ids[plain.prompt_length :]


def test_a_special_token_spelled_in_the_response_does_not_end_it(tmp_path):
    tokenizer = llama3()
    row = record("a", "Is it dry?", ["Fill <|eot_id|> it.", "Wipe it."])
    example = tokens_of(tmp_path, tokenizer, row).rows[0]
    assert example.ids.count(tokenizer.eos_token_id) == 3  # system, user, assistant
    assert tokenizer.decode(example.ids[-4:-1]) == "it."


def test_truncation_is_counted_reported_and_limited(tmp_path, capsys):
    tokenizer = llama3()
    whole = tokens_of(tmp_path, tokenizer, ROW).rows[0]
    longer = record("b", "Is it dry?", ["Wipe it. " * 20])
    limit = len(whole.ids)
    data = tokens_of(tmp_path, tokenizer, *[ROW] * 3, longer, max_length=limit, tolerance=0.25)
    assert data.figures()["truncated_examples"] == 1 and "1 of 4 examples are cut" in capsys.readouterr().out
    assert len(data.rows[3].ids) == limit and len(data.rows[3].kinds) == limit - data.rows[3].prompt_length
    prompt = whole.prompt_length
    cut = tokens_of(tmp_path, tokenizer, ROW, max_length=prompt + 9, tolerance=1.0)
    figures = cut.figures()
    assert (figures["target_tokens"], figures["mixed_token_share"]) == (9, round(1 / 9, 6)), (
        "what is cut counts nowhere"
    )
    more = [*[ROW] * 3, longer, {**longer, "id": "c"}]
    with pytest.raises(FormsafeError, match=r"2 of 5 examples are longer than \d+ tokens \(the first: b\).*max_length"):
        tokens_of(tmp_path, tokenizer, *more, max_length=limit, tolerance=0.2)
    assert "2 of 5 examples are cut" in (said := capsys.readouterr().out) and said.endswith("the first: b\n")
    with pytest.raises(FormsafeError, match="leaves no room"):
        tokens_of(tmp_path, tokenizer, ROW, max_length=whole.prompt_length, tolerance=1.0)


def test_interior_words_with_other_tokens_than_in_running_text_are_counted(tmp_path, monkeypatch):
    tokenizer = llama3()
    assert tokens_of(tmp_path, tokenizer, ROW).unaligned == 0
    running = examples._in_running_text
    monkeypatch.setattr(examples, "_in_running_text", lambda *each: [[-1], *running(*each)[1:]])
    assert tokens_of(tmp_path, tokenizer, ROW).unaligned == 1


def test_an_empty_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FormsafeError, match=r"train\.jsonl holds no examples"):
        tokens_of(tmp_path, llama3())


def test_counts_add_up(tmp_path):
    data = tokens_of(tmp_path, llama3(), ROW, ROW)
    figures = data.figures()
    assert figures["tokens"] == sum(len(example.ids) for example in data.rows)
    assert figures["target_tokens"] == 34
    assert figures["format_token_share"] == pytest.approx(8 / 34, abs=1e-6)
    assert figures["mixed_token_share"] == pytest.approx(2 / 34, abs=1e-6)
    assert figures["content_token_share"] == pytest.approx(24 / 34, abs=1e-6)
    assert figures["interior_tokens"] == 16 and figures["unaligned_interior_words"] == 0
