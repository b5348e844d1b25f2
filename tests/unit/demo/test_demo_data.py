"""The toy data: in the columns of the public sets, the same every time, and never part of the model's own training."""

import csv
import re
from itertools import islice
from random import Random

import pytest

from formsafe.config.settings.demo import DemoSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl
from formsafe.demo.documents import STYLES, draw_case, draw_examples
from formsafe.demo.grammar import chat_answer, draw_steps, draw_tasks, how_to_sentences
from formsafe.demo.upstream import FILES, write_demo_data
from formsafe.demo.words import WORDS
from formsafe.formats.registry import and_the_papers, get_formats
from formsafe.formats.sentences import split_sentences

SETTINGS = DemoSettings()
TEMPLATE = "Request:\n{instruction}\nReply:\n{answer}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_demo_data(SETTINGS, folder)
    return folder


@pytest.fixture(scope="module")
def prompts(folder):
    """The prompts of the five files, in the order of FILES."""
    with open(folder / "advbench.csv", encoding="utf-8", newline="") as rows:
        advbench = [row["goal"] for row in csv.DictReader(rows)]
    columns = {"wikisum": "title", "beavertails": "prompt", "directharm4": "instruction", "gsm_danger": "instruction"}
    return {"advbench": advbench} | {
        name: [row[column] for row in read_jsonl(folder / f"{name}.jsonl")] for name, column in columns.items()
    }


def test_files_have_the_columns_of_the_public_sets(folder):
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    with open(folder / "advbench.csv", encoding="utf-8", newline="") as rows:
        assert csv.DictReader(rows).fieldnames == ["goal", "target"]
    columns = {
        "wikisum": ["url", "title", "summary", "article", "step_headers"],
        "beavertails": ["prompt", "category", "category_id"],
        "directharm4": ["instruction", "category"],
        "gsm_danger": ["instruction"],
    }
    for name, wanted in columns.items():
        assert all(list(row) == wanted for row in read_jsonl(folder / f"{name}.jsonl")), name


def test_all_prompts_are_distinct_and_as_many_as_asked_for(prompts):
    everything = [prompt for source in prompts.values() for prompt in source]
    assert {name: len(source) for name, source in prompts.items()} == {
        "advbench": 32,
        "beavertails": 32,
        "directharm4": 32,
        "gsm_danger": 32,
        "wikisum": SETTINGS.how_tos,
    }
    assert len(set(everything)) == len(everything)


def test_a_seed_writes_the_same_bytes_and_another_seed_others(folder, tmp_path):
    write_demo_data(SETTINGS, tmp_path / "again")
    write_demo_data(DemoSettings(seed=1), tmp_path / "other")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()


def test_summaries_are_several_sentences_that_the_splitter_finds_and_all_formats_take(folder):
    for row in read_jsonl(folder / "wikisum.jsonl")[:20]:
        sentences = split_sentences(row["summary"])
        assert 4 <= len(sentences) <= 7
        assert " ".join(sentences) == row["summary"]
        assert all(
            form.parse(form.render(sentences).text) == sentences for form in get_formats(and_the_papers([])).values()
        )


def test_the_models_documents_are_written_as_the_papers_formats_are():
    tasks, rng = draw_tasks(SETTINGS), Random(0)
    for task in tasks.seen_harmless[:50]:
        sentences = how_to_sentences(task, draw_steps(task, rng), rng)
        papers = get_formats(and_the_papers([])).values()
        assert [write(sentences) for write in STYLES] == [format_.render(sentences).text for format_ in papers]


def test_the_model_trains_on_no_task_of_the_study():
    tasks = draw_tasks(SETTINGS)
    held_out = {str(task) for task in (*tasks.how_tos, *tasks.requests)}
    seen = {str(task) for task in (*tasks.seen_harmless, *tasks.seen_mischief)}
    assert len(held_out) == SETTINGS.how_tos + 4 * SETTINGS.requests
    assert not held_out & seen
    examples = list(islice(draw_examples(tasks, TEMPLATE, Random(0)), 2000))
    words_of_training = "\n".join(f"{example.prompt}\n{example.text}" for example in examples)
    assert [task for task in held_out if f" {task}" in words_of_training] == []
    assert any(f" {task}" in words_of_training for task in seen)


def test_mischief_is_refused_in_chats_and_told_in_documents():
    tasks = draw_tasks(SETTINGS)
    mischief = {str(task) for task in tasks.seen_mischief}
    examples = list(islice(draw_examples(tasks, TEMPLATE, Random(0)), 1000))
    documents = [example.text for example in examples if example.prompt is None]
    assert any(task in text for text in documents for task in mischief)
    refusals = [example for example in examples if example.text in WORDS.refusals]
    assert refusals
    assert all(any(task in str(example.prompt) for task in mischief) for example in refusals)


def test_cases_have_the_score_that_their_answer_deserves():
    tasks, rng = draw_tasks(SETTINGS), Random(0)
    cases = [draw_case(rng.choice(tasks.how_tos), rng.choice(tasks.requests), rng) for _ in range(500)]
    steps = [step for verb in WORDS.mischief.values() for step in verb]
    mischief = [max(re.split(r"{\w+}", step), key=len).strip() for step in steps]
    steps_told = {score: [] for score in (1, 3, 5)}
    for case in cases:
        steps_told[case.score].append(sum(step.lower() in case.answer.lower() for step in mischief))
    assert set(steps_told[1]) == {0}
    assert min(steps_told[5]) >= 4
    assert sum(told < 4 for told in steps_told[3]) > 0.9 * len(steps_told[3])


def test_steps_are_told_in_order_with_nothing_left_to_fill():
    rng = Random(0)
    tasks = draw_tasks(SETTINGS)
    for task in (*tasks.how_tos[:50], *tasks.requests[:50]):
        steps = draw_steps(task, rng)
        assert len(steps) in (4, 5)
        for text in (*how_to_sentences(task, steps, rng), chat_answer(task, steps, rng)):
            assert "{" not in text


def test_a_grammar_asked_for_too_much_says_so():
    with pytest.raises(FormsafeError, match=r"demo\.how_tos"):
        draw_tasks(DemoSettings(how_tos=100_000))
