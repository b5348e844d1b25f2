"""The certificate: written per format and across formats, and what makes it fail."""

import hashlib

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, read_jsonl, write_json, write_jsonl
from formsafe.data.certificate import certify_formats, mismatch, render_format
from formsafe.data.token_counts import count_tokens
from formsafe.formats.base import Rendered, Span
from formsafe.formats.registry import and_the_papers, get_format

FORMATS = and_the_papers([])
SENTENCES = ["Fill a bowl.", 'Say "done", twice.', "Wipe {the} lamp\\shade."]


def example(number):
    return {
        "id": f"wikisum-{number}-0",
        "title": "t",
        "instruction": f"How to {number}?",
        "sentences": [*SENTENCES, f"Wait {number} h."],
    }


@pytest.fixture
def certificates(tmp_path):
    """Render two splits in every format; return certificates by format."""
    corpus = {split: tmp_path / f"{split}.jsonl" for split in ("train", "test")}
    for count, path in enumerate(corpus.values(), start=2):
        write_jsonl(path, map(example, range(count)))
    paths = {}
    for name in FORMATS:
        paths[name] = tmp_path / name / "certificate.json"
        render_format(name, corpus, {split: tmp_path / name / f"{split}.jsonl" for split in corpus}, paths[name])
    return paths


def test_training_data_has_the_contracted_shape(certificates, tmp_path):
    for name in FORMATS:
        record = read_jsonl(tmp_path / name / "test.jsonl")[2]
        assert set(record) == {"id", "messages", "spans"}
        assert record["messages"][0] == {"role": "user", "content": "How to 2?"}
        text = record["messages"][1]["content"]
        assert get_format(name).parse(text) == example(2)["sentences"]
        assert "".join(text[start:stop] for start, stop, _ in record["spans"]) == text


def test_the_formats_share_content_and_differ_in_format_characters(certificates, tmp_path):
    certificate = certify_formats(list(certificates.values()), tmp_path / "certificate.json")
    assert certificate == read_json(tmp_path / "certificate.json")
    assert certificate["formats"] == list(FORMATS) and certificate["mismatches"] == 0
    assert certificate["compared"] == 3 * (2 + 3) + 2 * 2 * 6, "examples in every format, and what two formats share"
    characters = sum(len("".join(example(number)["sentences"])) for number in range(2))
    assert certificate["splits"]["train"]["content_characters"] == characters
    assert certificate["splits"]["test"]["examples"] == 3
    json_, list_, prose = (certificate["format_characters"][name]["train"] for name in ("json", "list", "prose"))
    assert json_ > list_ > prose == 6
    assert certificate["reordered_examples"] == {name: {"train": 0, "test": 0} for name in FORMATS}
    escapes = read_json(certificates["json"])["splits"]["train"]
    assert escapes["content_characters_written"] == characters + 2 * 3  # two quotes and a backslash in each


@pytest.mark.parametrize(
    "key", ["examples", "sentences", "content_characters", "ids_digest", "content_digest", "sentences_digest"]
)
def test_any_difference_between_formats_fails(certificates, tmp_path, key):
    changed = read_json(certificates["json"])
    changed["splits"]["test"][key] = "other"
    write_json(certificates["json"], changed)
    with pytest.raises(FormsafeError, match=f"same content: prose and json: {key} of the test split"):
        certify_formats(list(certificates.values()), tmp_path / "certificate.json")
    assert not (tmp_path / "certificate.json").exists()


def test_at_most_five_differences_are_named(certificates, tmp_path):
    changed = read_json(certificates["json"])
    changed["splits"]["test"] = dict.fromkeys(changed["splits"]["test"], "other")
    write_json(certificates["json"], changed)
    with pytest.raises(FormsafeError) as error:
        certify_formats(list(certificates.values()), tmp_path / "certificate.json")
    assert str(error.value).count("prose and json: ") == 5


def test_the_mismatches_that_formats_tell_of_are_added_up(certificates, tmp_path):
    for name, count in (("list", 2), ("json", 1)):
        write_json(certificates[name], read_json(certificates[name]) | {"mismatches": count})
    assert certify_formats(list(certificates.values()), tmp_path / "certificate.json")["mismatches"] == 3


def test_mismatch_sees_what_is_lost():
    list_ = get_format("list")
    good = list_.render(SENTENCES)
    assert mismatch(list_, SENTENCES, good) is None
    assert "other sentences" in mismatch(list_, SENTENCES[:2], good)
    assert "gap" in mismatch(list_, SENTENCES, Rendered(good.text, good.spans[1:]))
    assert "gap" in mismatch(list_, SENTENCES, Rendered(good.text, [Span(0, 0, "format"), *good.spans])), "an empty one"
    assert "end" in mismatch(list_, SENTENCES, Rendered(good.text, good.spans[:-1]))
    swapped = [span._replace(kind="content") for span in good.spans]
    assert "other characters" in mismatch(list_, SENTENCES, Rendered(good.text, swapped))


def test_other_boundaries_are_other_sentences(tmp_path):
    digests = []
    for sentences in (["Fill it.", "Dry it."], ["Fill it.Dry", "it."]):
        write_jsonl(tmp_path / "train.jsonl", [example(0) | {"sentences": sentences}])
        paths = ({"train": tmp_path / name} for name in ("train.jsonl", "out.jsonl"))
        counts = render_format("list", *paths, tmp_path / "c.json")["splits"]["train"]
        digests.append(counts["sentences_digest"])
    assert digests[0] != digests[1]


def test_the_certificate_names_the_bytes_of_every_file(certificates, tmp_path):
    certificate = certify_formats(list(certificates.values()), tmp_path / "certificate.json")
    assert certificate["file_digest"] == {
        name: {
            split: hashlib.sha256((tmp_path / name / f"{split}.jsonl").read_bytes()).hexdigest()
            for split in ("train", "test")
        }
        for name in FORMATS
    }
    assert "file_digest" not in certificate["splits"]["train"]  # it differs by format


@pytest.mark.parametrize("fault", ["read", "pieces"])
def test_a_format_that_loses_content_fails_and_names_examples(tmp_path, monkeypatch, fault):
    json_ = get_format("json")
    original = getattr(json_, fault)
    monkeypatch.setattr(json_, fault, lambda argument: list(original(argument))[:-1])
    write_jsonl(tmp_path / "train.jsonl", map(example, range(8)))
    with pytest.raises(FormsafeError, match=r"8 of 8 examples of the train split .* json: wikisum-0-0 \(") as error:
        render_format(
            "json", {"train": tmp_path / "train.jsonl"}, {"train": tmp_path / "out.jsonl"}, tmp_path / "c.json"
        )
    assert str(error.value).count("wikisum-") == 5, "the first five are named"
    assert not (tmp_path / "out.jsonl").exists() and not (tmp_path / "c.json").exists()


def test_sentences_that_cannot_be_written_name_the_example(tmp_path):
    unlike_prose = {"sentences": ["- Looks like", "a list."]}
    write_jsonl(tmp_path / "train.jsonl", [example(0) | unlike_prose, example(1), example(2) | unlike_prose])
    with pytest.raises(FormsafeError, match=r"2 of 3 .* prose: wikisum-0-0 \(cannot be .*\), wikisum-2-0 \(.*correct"):
        render_format(
            "prose", {"train": tmp_path / "train.jsonl"}, {"train": tmp_path / "o.jsonl"}, tmp_path / "c.json"
        )


def test_token_counts_show_what_a_format_costs(certificates, tmp_path, tiny_model):
    from transformers import AutoTokenizer

    write_json(tmp_path / "m.json", {"name": "tiny", "path": str(tiny_model), "repo": None, "revision": None})
    train = {name: tmp_path / name / "train.jsonl" for name in FORMATS}
    counts = count_tokens(tmp_path / "m.json", train, tmp_path / "counts.json")
    assert counts == read_json(tmp_path / "counts.json")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = [record["messages"][1]["content"] for record in read_jsonl(train["json"])]
    lengths = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    figures = counts["formats"]["json"]
    assert (figures["examples"], figures["tokens"], figures["longest"]) == (2, sum(lengths), max(lengths))
    assert figures["ratio_to_cheapest"] > min(one["ratio_to_cheapest"] for one in counts["formats"].values()) == 1


def test_a_file_of_other_records_is_an_error_that_names_line_and_field(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [example(0), example(1) | {"sentences": "one"}])
    with pytest.raises(FormsafeError, match=r"train\.jsonl, line 2: sentences is not what a CorpusExample has there"):
        render_format("list", {"train": tmp_path / "train.jsonl"}, {"train": tmp_path / "o.jsonl"}, tmp_path / "c.json")


def test_a_format_can_be_asked_for_in_the_instruction(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [example(0)])
    paths = ({"train": tmp_path / name} for name in ("train.jsonl", "out.jsonl"))
    certificate = render_format("json", *paths, tmp_path / "c.json", "{instruction} Answer in JSON.")
    assert read_jsonl(tmp_path / "out.jsonl")[0]["messages"][0]["content"] == "How to 0? Answer in JSON."
    assert certificate["instruction"] == "{instruction} Answer in JSON."
