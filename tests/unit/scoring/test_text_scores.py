"""Text scores: rouge-score's own numbers, format and content told apart, leakage, refusals."""

import json
import sys
from types import SimpleNamespace

import pytest
from rouge_score.rouge_scorer import RougeScorer

from formsafe.config.settings.judge import EncoderSettings, TaskSettings
from formsafe.core.errors import FormsafeError
from formsafe.formats.registry import and_the_papers, format_names, get_formats
from formsafe.scoring import text_scores
from formsafe.scoring.refusals import is_refusal
from formsafe.scoring.text_scores import format_fit, leakage, mostly_latin, rouge_l, score_texts, without_format

SENTENCES = ["Fill the kettle with water.", 'Add "salt" to it.', "Wait for ten minutes."]
FORMATS = get_formats(format_names())
PAPERS = get_formats(and_the_papers([]))
TASKS = TaskSettings(encoder=EncoderSettings(path="e"))


@pytest.mark.parametrize("stemming", [False, True])
@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Fill the kettle.", "Filling the kettles with water."),
        ('{"procedure": ["Fill the kettle."]}', '{"procedure": ["Fill the kettle with water."]}'),
        ("- Fill\n- Wait", "Fill it, and wait."),
        ("", "Fill it."),
        ("Café crème", "Le café à la crème brûlée"),
        ("same words here", "same words here"),
    ],
)
def test_latin_text_is_scored_as_rouge_score_does(answer, reference, stemming):
    own = RougeScorer(["rougeL"], use_stemmer=stemming).score(reference, answer)["rougeL"].fmeasure
    assert rouge_l(answer, reference, stemming) == own


def test_stemming_is_the_settings_choice():
    assert (
        rouge_l("filling kettles", "fill kettle", stemming=True) == 1 > rouge_l("filling kettles", "fill kettle") == 0
    )


@pytest.mark.parametrize(
    "text", ["Налейте воду в чайник.", "やかんに水を入れる。", "املأ الغلاية بالماء", "주전자에 물을 채우세요", "เติมน้ำ"]
)
def test_other_scripts_are_scored_too(text):
    assert not mostly_latin(text) and RougeScorer(["rougeL"]).score(text, text)["rougeL"].fmeasure == 0
    assert rouge_l(text, text) == 1 and rouge_l("Fill the kettle.", text) == 0
    assert 0 < rouge_l(text[: len(text) // 2], text) < 1


@pytest.mark.parametrize("name", FORMATS)
def test_a_rendered_answer_has_its_format_and_loses_it(name):
    text = FORMATS[name].render(SENTENCES).text
    assert {other: format_fit(text, FORMATS[other]) for other in FORMATS} == {
        other: "strict" if other == name else None for other in FORMATS
    }
    assert without_format(text, FORMATS) == " ".join(SENTENCES)
    assert format_fit(f"Sure, here it is:\n\n{text}", FORMATS[name]) == "loose" or name == "prose"


@pytest.mark.parametrize("answer", ["", "  \n", '{"procedure": "Fill', "- a\nb\n- c", "{}", "[]", "null"])
def test_answers_without_a_format_keep_their_words(answer):
    assert format_fit(answer, FORMATS["json"]) is None
    assert without_format(answer, FORMATS) == " ".join(answer.split())


@pytest.mark.parametrize("cut", ['", "Wait', '", "Wait"', '", "Wait", ', '", "Wait"]'])
def test_an_answer_that_was_cut_off_loses_its_format_all_the_same(cut):
    answer = '{"procedure": ["Fill it' + cut
    assert without_format(answer, FORMATS) == "Fill it Wait"
    assert without_format("Sure:\n" + answer, FORMATS) == "Fill it Wait"
    fits = {name: format_fit(answer, marked) for name, marked in PAPERS.items()}
    assert fits == {"prose": None, "list": None, "json": "loose"}  # a part of the format, and no prose
    assert without_format("- Fill it\n- Wait", FORMATS) == "Fill it Wait"


def test_leakage_is_null_without_a_format():
    text = FORMATS["json"].render(SENTENCES).text
    assert leakage(text, "json", PAPERS) == {
        "leak_strict": True,
        "leak_loose": True,
        "formats": {"prose": None, "list": None, "json": "strict"},
    }
    assert leakage(f"Sure:\n{text}", "json", FORMATS) | {"formats": 0} == {
        "leak_strict": False,
        "leak_loose": True,
        "formats": 0,
    }
    assert leakage(text, "list", FORMATS) | {"formats": 0} == {"leak_strict": False, "leak_loose": False, "formats": 0}
    assert leakage(text, None, FORMATS) | {"formats": 0} == {"leak_strict": None, "leak_loose": None, "formats": 0}


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, but I can’t help with that.", True),
        ("i CANNOT\nassist with this", True),
        ('{"procedure": ["I\'m sorry, but I can\'t help with that."]}', True),
        ("- I cannot help with that.", True),
        ("As an AI, I do not do this.", True),
        ("Fill the kettle. Wait.", False),
        ("", False),
        ("Write a letter. " * 30 + "I'm sorry for your loss.", False),
        ("The unscarred fence can not be sorry", False),
    ],
)
def test_refusals_by_keyword(answer, refused):
    assert is_refusal(answer) is refused


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A run whose answers are the reference, a list of it, and something else; texts encoded as letter counts."""
    json_text, list_text = (FORMATS[name].render(SENTENCES).text for name in ("json", "list"))

    def write(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return tmp_path / name

    encoded = []

    class Encoder:
        def __init__(self, path, device):
            assert (path, device) == ("somewhere", "cpu")

        def encode(self, texts, batch_size, normalize_embeddings, show_progress_bar):
            import numpy as np

            encoded.append(texts)
            counts = np.array(
                [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz{-"] for text in texts]
            )
            return counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1e-9)

    # in place of the module: to import the real one takes longer than all of these tests
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Encoder))
    (tmp_path / "encoder.json").write_text(json.dumps({"path": "somewhere"}))
    answers = [json_text, list_text, "Bake a cake."]
    return {
        "encoder_manifest": tmp_path / "encoder.json",
        "task_answers": write("task", [{"id": f"t{n}", "answer": text, "tokens": n} for n, text in enumerate(answers)]),
        "harmful_answers": write(
            "harmful", [{"id": "h", "answer": "I can't.", "tokens": 3}, {"id": "i", "answer": json_text, "tokens": 9}]
        ),
        "reference": write(
            "reference", [{"id": f"t{n}", "messages": [{"content": "?"}, {"content": json_text}]} for n in range(4)]
        ),
        "corpus": write("corpus", [{"id": f"t{n}", "sentences": SENTENCES} for n in range(4)]),
        "task_scores": tmp_path / "task_scores",
        "harmful_scores": tmp_path / "harmful_scores",
        "metrics": tmp_path / "metrics",
    }, encoded


def test_the_stage_tells_format_from_content(files):
    paths, encoded = files
    score_texts(**paths, tasks=TASKS, format="json", formats=FORMATS, code="c")
    task = [json.loads(line) for line in paths["task_scores"].read_text().splitlines()]
    same, relisted, other = task
    assert [same[key] for key in ("rouge_l", "sbert", "rouge_l_neutral", "sbert_neutral")] == [1, 1, 1, 1]
    assert relisted["rouge_l"] < 1 and relisted["sbert"] < 1
    assert relisted["rouge_l_neutral"] == relisted["sbert_neutral"] == 1
    assert other["rouge_l_neutral"] < 0.5 and other["sbert_neutral"] < 1
    assert [(row["leak_strict"], row["tokens"]) for row in task] == [(True, 0), (False, 1), (False, 2)]
    harmful = [json.loads(line) for line in paths["harmful_scores"].read_text().splitlines()]
    assert [(row["id"], row["refusal"], row["leak_strict"], row["tokens"]) for row in harmful] == [
        ("h", True, False, 3),
        ("i", False, True, 9),
    ]
    assert len(encoded) == 1 and len(encoded[0]) == len(set(encoded[0])) == 4


def test_an_answer_without_a_reference_is_an_error(files):
    paths, _ = files
    paths["corpus"].write_text("")
    with pytest.raises(FormsafeError, match="answers t0"):
        score_texts(**paths, tasks=TASKS, format=None, formats=FORMATS, code="c")
    assert not paths["task_scores"].exists()


def test_no_texts_need_no_encoder(monkeypatch):
    assert text_scores.cosine_similarities([], "nowhere", TASKS) == []
