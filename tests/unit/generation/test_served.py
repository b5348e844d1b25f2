"""A server that the job starts, and ends however the job ends: a stand-in with vLLM's command line, killed at will."""

import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from formsafe.config.settings.generation import GenerationSettings, ServerSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.texts import overlapping
from formsafe.generation import served, supervisor
from formsafe.generation.answers import JOURNAL, AnswerJob, answer_prompts
from formsafe.generation.engines import make_engine
from formsafe.generation.journal import Journal
from formsafe.generation.replies import Prompt, ask
from formsafe.generation.served import ServedEngine, fill_command
from tests.stand_in_server import SLEEP, Handler

ROOT = Path(__file__).resolve().parents[3]
STAND_IN = shlex.join([sys.executable, "-I", "-S", str(ROOT / "tests/stand_in_server.py")])
LORA = "serve {model} --port {port} --enable-lora --lora-modules run={adapter}"
COMMAND = f"{STAND_IN} {LORA}"
COUNT = 12


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(served, "GRACE_SECONDS", 0.3)
    monkeypatch.delenv("FORMSAFE_STAND_IN", raising=False)


@pytest.fixture
def places(tmp_path):
    """A folder with a model's manifest, prompts and an adapter."""
    (tmp_path / "a model").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_model.safetensors").write_text("LoRA")
    (tmp_path / "model.json").write_text(json.dumps({"path": str(tmp_path / "a model")}))
    rows = [{"id": f"p{n}", "prompt": f"How does one boil egg number {n} in a blue pan?"} for n in range(COUNT)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    yield tmp_path
    for pid in processes_of(tmp_path):  # of a test that failed
        os.kill(pid, signal.SIGKILL)


def job_of(places, adapter=False, command=COMMAND, **settings):
    server = ServerSettings(command=command, **{"concurrency": 1, "attempts": 2, "start_minutes": 0.5, **settings})
    return AnswerJob(
        model_manifest=places / "model.json",
        prompts={"harmful": places / "prompts.jsonl"},
        answers={"harmful": places / "answers.jsonl"},
        metrics=places / "metrics.json",
        model=ModelSettings(path="unused", label="t", parameters=1e5),
        generation=GenerationSettings(server=server),
        system_prompt=None,
        gpu_memory_gb="auto",
        code="c",
        adapter=places / "adapter/adapter_model.safetensors" if adapter else None,
    )


def answers(places):
    return [json.loads(line)["answer"] for line in (places / "answers.jsonl").read_text().splitlines()]


def expected(adapter=False):
    opening = "[LoRA] " if adapter else ""
    return [f"{opening}You asked: How does one boil egg number {n} in a blue pan?" for n in range(COUNT)]


def journalled(places):
    path = places / JOURNAL
    return path.read_text().count('"text"') if path.exists() else 0


def processes_of(places):
    """Living processes of a server for the test's model, and what it started."""
    return {pid for pid, words in command_lines() if f"{places}/a model" in words and pid != os.getpid()}


def sleepers(places):
    """The processes that a stand-in started."""
    return {pid for pid, words in command_lines() if SLEEP in words and f"{places}/a model" in words}


def command_lines():
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(entry.parent.name), entry.read_bytes().decode(errors="replace")
        except OSError:
            continue


def await_gone(places):
    deadline = time.monotonic() + 20
    while processes_of(places):
        assert time.monotonic() < deadline, processes_of(places)
        time.sleep(0.02)


@pytest.mark.parametrize("adapter", [False, True])
def test_a_server_of_the_jobs_own_answers_with_and_without_adapter(places, adapter, capfd, monkeypatch):
    """The claimed card has a number for the server: vLLM knows no names of cards."""
    monkeypatch.setattr(served, "installed_cards", lambda: ["GPU-a", "GPU-b"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b" if adapter else "MIG-c")
    answer_prompts(job_of(places, adapter))
    assert answers(places) == expected(adapter)
    await_gone(places)
    metrics = json.loads((places / "metrics.json").read_text())
    assert metrics["engine"] == "server" and metrics["server_command"] == COMMAND
    assert metrics["server_versions"] == ["0.0.1+stand -in"] and metrics["tokens"] > COUNT
    said = capfd.readouterr().out
    assert f"server: Loading weights {places}/a model {1 if adapter else 'MIG-c'}" in said
    assert "The server has ended" in said


@pytest.mark.parametrize("words", ["stubborn", "child", "stubborn child daemon"])
def test_the_server_ends_with_all_that_it_started(places, monkeypatch, words):
    monkeypatch.setenv("FORMSAFE_STAND_IN", words)
    engine = ServedEngine(job_of(places).generation.server, str(places / "a model"), None)
    engine._start(str(places / JOURNAL))
    started = words.count("child") + words.count("daemon")
    assert len(sleepers(places)) == started
    engine.close()
    assert not processes_of(places)
    engine.close()  # a second time is no error


def run_job(places, words):
    """The job, in a process of its own."""
    # A shell starts background jobs with SIGINT ignored, and children inherit that: this job would never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(places / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["FORMSAFE_STAND_IN"], served.GRACE_SECONDS = words, 0.3
    answer_prompts(job_of(places))


@pytest.fixture(scope="module")
def context():
    """Children that start in milliseconds: they are forked from a process that has imported all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["formsafe.generation.answers", "formsafe.generation.served"])
    with mock.patch.dict(os.environ, PYTHONPATH=f"{ROOT / 'workflow/scripts'}:{ROOT}"):
        first = context.Process(target=time.sleep, args=(0,))
        first.start()
        first.join()
    return context


@pytest.fixture
def child(context):
    """Start the job in a process of its own."""

    def start(places, words):
        job = context.Process(target=run_job, args=(places, words))
        job.start()
        return job

    return start


@pytest.fixture
def neighbour():
    """Start a process that sleeps, with a mark in its environment."""
    started = []

    def start(mark=""):
        started.append(subprocess.Popen(["sleep", "600"], env={**os.environ, supervisor.VARIABLE: mark}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_until(condition, job):
    deadline = time.monotonic() + 30
    while not condition():
        assert job.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("before health", signal.SIGKILL),
        ("at health", signal.SIGKILL),
        *(("midway", number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
    ],
)
def test_a_job_that_is_killed_leaves_no_process_and_the_next_goes_on(places, child, stage, number):
    words = {"before health": "slow", "at health": "hang=1", "midway": "hang=6"}[stage]
    answered = 5 if stage == "midway" else 0

    def reached():
        journal = places / JOURNAL
        told = '"versions"' in journal.read_text() if journal.exists() else False  # noted when the server is ready
        return len(sleepers(places)) == 2 and told == (stage != "before health") and journalled(places) == answered

    job = child(places, f"{words} stubborn child daemon")
    wait_until(reached, job)
    os.kill(job.pid, number)
    job.join()
    assert job.exitcode != 0
    await_gone(places)
    assert journalled(places) == answered
    answer_prompts(job_of(places))
    assert answers(places) == expected()
    assert json.loads((places / "metrics.json").read_text())["continued"] == answered


def test_what_a_killed_supervisor_leaves_is_ended_by_the_next_start_and_nothing_else_is(
    places, child, neighbour, capfd
):
    """Job and supervisor are killed at once: the kernel ends the server, the next start its child."""
    job = child(places, "hang=6 stubborn child bare")
    wait_until(lambda: journalled(places) == 5, job)
    living = neighbour()
    spared = [living, neighbour(supervisor.mark_of(str(places / JOURNAL), living.pid))]
    spared.append(neighbour(supervisor.mark_of(str(places / "another journal"), 2**22)))  # of a job that is gone
    watcher = next(int(pid) for pid in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split())
    for pid in (job.pid, watcher):
        os.kill(pid, signal.SIGKILL)
    job.join()
    deadline = time.monotonic() + 20
    while processes_of(places) != sleepers(places):  # until the server itself is gone
        assert time.monotonic() < deadline
    assert len(sleepers(places)) == 2
    answer_prompts(job_of(places))
    assert answers(places) == expected() and not sleepers(places)
    assert "left its server" in capfd.readouterr().out
    assert [process.poll() for process in spared] == [None, None, None]
    await_gone(places)


def test_a_server_that_dies_is_an_error_at_once_and_the_next_start_goes_on(places, monkeypatch):
    monkeypatch.setenv("FORMSAFE_STAND_IN", "die=6 child")
    with pytest.raises(FormsafeError, match=r"ended while it answered \(exit status 137\).*replies so far are kept"):
        answer_prompts(job_of(places, attempts=100))
    assert journalled(places) == 5 and not processes_of(places)
    monkeypatch.setenv("FORMSAFE_STAND_IN", "")
    answer_prompts(job_of(places))
    assert answers(places) == expected()


def test_one_server_answers_all_sections_and_none_is_started_for_finished_ones(places, capfd):
    """A judge asks again in further sections; a job that was killed after its last reply has nothing left to ask."""
    settings = job_of(places).generation
    asked = [Prompt(f"p{n}", f"Which lamp is number {n} of the old house?") for n in range(3)]
    journal = Journal(places / JOURNAL, {})
    for tries in (2, 0):
        engine = ServedEngine(settings.server, str(places / "a model"), None)
        with closing(engine):
            for section in ("try 1", "try 2"):
                replies = ask(engine, asked, settings, journal, section)
                assert [reply.text for reply in replies] == [f"You asked: {prompt.text}" for prompt in asked]
        said = capfd.readouterr().out
        assert said.count("server: Loading weights") == said.count("The server has ended") == min(tries, 1)
        assert engine.record(journal) == {"server_versions": ["0.0.1+stand -in"]}


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": 7}, {"data": [None, {"id": None}]}])
def test_a_list_of_models_without_names_has_no_adapter(body):
    engine = ServedEngine.__new__(ServedEngine)
    engine.settings, engine._get = SimpleNamespace(model="run"), lambda path: (200, body)
    with pytest.raises(FormsafeError, match="and not the adapter run"):
        engine._require_adapter()


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        ("refuse", {}, r"ended before it was ready \(exit status 1\)"),
        ("slow", {"start_minutes": 0.01}, "not ready after 0.01 minutes.*start_minutes"),
        ("deaf", {"adapter": True}, "not the adapter run: it would answer without it"),
        ("", {"command": f"nosuch-program {LORA}"}, "no program nosuch-program"),
    ],
)
def test_a_server_that_cannot_answer_is_an_error_with_its_reason(places, monkeypatch, words, settings, message, capfd):
    monkeypatch.setenv("FORMSAFE_STAND_IN", words)
    with pytest.raises(FormsafeError, match=message):
        answer_prompts(job_of(places, **settings))
    assert not processes_of(places)
    assert words != "refuse" or "server: no kernel image" in capfd.readouterr().out


def test_another_program_at_the_servers_port_gets_no_prompt(places, monkeypatch):
    monkeypatch.setenv("FORMSAFE_STAND_IN", "mute")
    engine = ServedEngine(job_of(places).generation.server, str(places / "a model"), None)
    other = ThreadingHTTPServer(("127.0.0.1", engine._port), Handler)
    threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    with closing(engine), pytest.raises(FormsafeError, match=rf"Another program answers at port {engine._port}"):
        engine._start(str(places / JOURNAL))
    other.shutdown()
    other.server_close()
    assert not processes_of(places)


def test_the_log_has_the_servers_lines_without_texts_keys_and_control_characters(places, monkeypatch, capfd):
    from formsafe.core.logs import filtered_streams

    monkeypatch.setenv("FORMSAFE_STAND_IN", "chatty")
    with filtered_streams():
        answer_prompts(job_of(places))
    said = capfd.readouterr().out
    assert "server: The queue of requests is empty again." in said
    for hidden in ("boil egg", "You asked", "0123456789abcdefghij", "\x1b"):
        assert hidden not in said


def test_lines_that_repeat_a_text_are_found():
    lines = [
        "INFO: prompt: 'Tell me: How do I  boil an EGG, now?'",
        '{"text": "\\u3086\\u3067\\u305f\\u307e\\u3054\\u306e\\u4f5c\\u308a\\u65b9\\u3092\\u6559\\u3048\\u3066"}',
        "ERROR: CUDA out of memory. Tried to allocate 2 GiB",
        "too short",
        "request 17: boil it (temperature 0.0, 96 tokens)",
    ]
    texts = ["How do I boil an egg?", "ゆでたまごの作り方を教えて", "Boil it!", "2"]
    assert overlapping(lines, texts, 12) == {0, 1, 3, 4}
    assert overlapping(lines, [], 12) == {3}


@pytest.mark.parametrize(
    ("command", "adapter", "words", "more", "name"),
    [
        (LORA, "/c d", "serve m --port 7 --enable-lora --lora-modules", ["run=/c d"], "run"),
        (LORA, None, "serve m --port 7 --enable-lora", [], "m"),
        ("s {model} {port} --lora={adapter}", "/c", "s m 7 --lora=/c", [], "/c"),
        ("s {model} {port} --lora={adapter} -x", None, "s m 7 -x", [], "m"),
        ("s {model} {port} {adapter}", "/c", "s m 7 /c", [], "/c"),
        ("s {model} {port} {adapter} on", None, "s m 7 on", [], "m"),
        ("s {model} {port} --x '{\"a\": 1}'", None, "s m 7 --x", ['{"a": 1}'], "m"),
    ],
)
def test_how_a_command_is_filled(command, adapter, words, more, name):
    settings = ServerSettings(command=command)
    assert fill_command(settings, "m", adapter, 7) == ([*words.split(), *more], name)


def test_a_model_may_have_a_name_of_its_own_and_a_folder_blanks():
    settings = ServerSettings(command="s {model} {port} run={adapter}", model="own")
    assert fill_command(settings, "/a b", None, 7) == (["s", "/a b", "7"], "own")
    assert fill_command(settings, "/a b", "/c", 7)[1] == "run"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"command": "vllm serve {model}"}, r"lacks \{port\}"),
        ({"command": "vllm serve --port {port}"}, r"lacks \{model\}"),
        ({"command": "vllm serve {model} --port {port} --lora {lora}"}, r"\{lora\} is no placeholder"),
        ({"command": "vllm serve {model} --port {port} 'x"}, "does not close"),
        ({"command": "vllm serve {model} --port {port} --api-key sk-0123456789abcdefghij"}, "key or password"),
        ({"command": "vllm serve {model} --port {port} --api-key=abcdef0123"}, "key or password"),
        ({"command": COMMAND, "base_url": "http://h/v1"}, "exactly one"),
        ({}, "exactly one"),
        ({"base_url": "http://h/v1"}, "model is missing"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ServerSettings(**settings)


def test_only_what_starts_a_server_is_tracked():
    made = ServerSettings(command=COMMAND, concurrency=3, start_minutes=1.0)
    assert made.model_dump() == {"command": COMMAND, "model": None, "extra_body": {}}
    assert "command" not in ServerSettings(base_url="http://h/v1", model="m").model_dump()


def test_a_soft_prompt_goes_through_no_server(places):
    with pytest.raises(FormsafeError, match="soft prompt"):
        make_engine({"path": "m"}, job_of(places).model, job_of(places).generation, 1, None, places)
