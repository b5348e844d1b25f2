"""Answers of a real OpenAI-compatible server, `transformers serve`, in good days and bad."""

import os
import sys
from pathlib import Path
from unittest import mock

import pytest

from formsafe.config.settings.generation import GenerationSettings, ServerSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.generation import supervisor
from formsafe.generation.journal import Journal
from formsafe.generation.local_engine import load_engine
from formsafe.generation.replies import Prompt, ask
from formsafe.generation.served import ServedEngine
from formsafe.generation.server import ServerEngine
from tests.faulty_server import FaultyServer, serving
from tests.talkative import prompts, write_talkative_model

PROMPTS = [Prompt(f"p-{n}", text, None if n % 3 else "Answer in short.") for n, text in enumerate(prompts(16))]
GREEDY = GenerationSettings(max_new_tokens=24)


SERVE = f"{Path(sys.executable).with_name('transformers')} serve {{model}} --device cpu --port {{port}}"


@pytest.fixture(scope="module")
def model_folder(tiny_model, tmp_path_factory):
    """Without ordinary tokens that end an answer: the server leaves them in its text."""
    return write_talkative_model(tiny_model, tmp_path_factory.mktemp("served"), stops=0)


@pytest.fixture(scope="module")
def started(model_folder, tmp_path_factory):
    """The server as a job starts it."""
    own = ServedEngine(ServerSettings(command=SERVE, concurrency=3), str(model_folder), None)
    with mock.patch.dict(os.environ, HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1"):
        own._start(str(tmp_path_factory.mktemp("serve") / "journal"))
    yield own
    own.close()
    assert not supervisor.members(own._mark)


@pytest.fixture(scope="module")
def served(started):
    return started.settings.base_url


@pytest.fixture(scope="module")
def expected(model_folder, tmp_path_factory):
    """What the same model answers in this process."""
    model = ModelSettings(path=str(model_folder), label="t", parameters=1e5, quantisation="none", device="cpu")
    journal = Journal(tmp_path_factory.mktemp("local") / "journal", {})
    return ask(load_engine(model_folder, model, GREEDY, 1), PROMPTS, GREEDY, journal, "s")


def engine(url, model, **changes):
    plain = {"base_url": url, "model": str(model), "concurrency": 3, "attempts": 5}
    return ServerEngine(ServerSettings(**{**plain, **changes}), backoff_seconds=0.02)


def test_a_server_that_the_job_started_answers_as_the_model_in_process(started, expected, tmp_path):
    journal = Journal(tmp_path / "journal", started.describe())
    replies = ask(started, PROMPTS, GREEDY, journal, "s")
    assert [(reply.text, reply.finish_reason) for reply in replies] == [(r.text, r.finish_reason) for r in expected]
    assert started.record(journal)["server_versions"]


def test_the_server_answers_as_the_model_in_process(served, model_folder, expected, tmp_path):
    made = engine(served, model_folder)
    replies = ask(made, PROMPTS, GREEDY, Journal(tmp_path / "journal", made.describe()), "s")
    assert [reply.text for reply in replies] == [reply.text for reply in expected]
    assert [reply.finish_reason for reply in replies] == [reply.finish_reason for reply in expected]


def test_faults_before_the_server_are_outlived(served, model_folder, expected, tmp_path):
    faults = {1: 500, 2: "drop", 4: 429, 5: ("wait", 3.0), 7: ("text", "<html>bad gateway</html>"), 8: 503}
    with serving(FaultyServer(lambda number, body: faults.get(number), upstream=served)) as proxy:
        made = engine(proxy.url, model_folder, timeout_seconds=2.0, attempts=50)  # a busy machine is late, too
        replies = ask(made, PROMPTS, GREEDY, Journal(tmp_path / "journal", made.describe()), "s")
    assert [reply.text for reply in replies] == [reply.text for reply in expected]
    assert len(proxy.bodies) >= len(PROMPTS) + len(faults)


def test_a_server_killed_half_way_is_continued_after_its_restart(served, model_folder, expected, tmp_path):
    described = engine(served, model_folder).describe()
    with serving(FaultyServer(lambda number, body: "die" if number == 8 else None, upstream=served)) as proxy:
        made = engine(proxy.url, model_folder, attempts=2)
        with pytest.raises(FormsafeError, match="replies so far are kept"):
            ask(made, PROMPTS, GREEDY, Journal(tmp_path / "journal", described), "s")
    journal = Journal(tmp_path / "journal", described)
    assert 0 < journal.continued < len(PROMPTS)
    replies = ask(engine(served, model_folder), PROMPTS, GREEDY, journal, "s")
    assert [reply.text for reply in replies] == [reply.text for reply in expected]


def test_an_unknown_model_is_refused_at_once(served, tmp_path):
    made = engine(served, "nobody/knows-it", attempts=5)
    with pytest.raises(FormsafeError, match=r"status 4\d\d for model nobody/knows-it"):
        ask(made, PROMPTS[:1], GREEDY, Journal(tmp_path / "journal", {}), "s")
