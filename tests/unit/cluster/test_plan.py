"""What Snakemake would run: its own data in our words, and its last words where it fails."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake import api, cli
from snakemake.jobs import Reason

from formsafe.cluster import plan, plan_child
from formsafe.cluster.plan import PlannedJob, all_jobs, config_files, run_snakemake
from formsafe.core.errors import FormsafeError


@pytest.fixture
def program(monkeypatch):
    """Stands in for every program that is started: what it prints and its exit status, set by the test."""
    answer = SimpleNamespace(stdout="", stderr="", returncode=0, calls=[], writes=None)

    def run(words, **more):
        answer.calls.append((words, more["cwd"]))
        if answer.writes is not None:
            Path(words[2]).write_text(answer.writes)
        return subprocess.CompletedProcess(words, answer.returncode, answer.stdout, answer.stderr)

    monkeypatch.setattr(plan.subprocess, "run", run)
    return answer


def test_a_failure_shows_the_last_fifteen_lines(program, tmp_path):
    program.stdout = "".join(f"line {number}\n" for number in range(1, 21))
    program.stderr, program.returncode = "the error\n\n", 1
    with pytest.raises(FormsafeError) as failed:
        run_snakemake(["--unlock", "--cores", "1"], tmp_path)
    first, *rest = str(failed.value).splitlines()
    assert first == "Snakemake could not do --unlock --cores 1:"
    assert rest == [*(f"line {number}" for number in range(7, 21)), "the error"]
    assert program.calls == [([sys.executable, "-m", "snakemake", "--nocolor", "--unlock", "--cores", "1"], tmp_path)]


def test_jobs_are_those_that_make_something_and_nothing_is_said_of_them_unless_it_is_known(program, tmp_path):
    program.writes = json.dumps([{"rule": "all", "outputs": []}, {"rule": "train", "outputs": ["a"]}])
    assert all_jobs(["--cores", "1"], tmp_path) == [PlannedJob("train", ["a"], None, 0, True, [], False, [])]
    ((words, directory),) = program.calls
    assert words[1] == str(Path(plan_child.__file__)) and words[3:] == ["--cores", "1"] and directory == tmp_path
    program.returncode = 1
    with pytest.raises(FormsafeError, match="could not do --dry-run --cores 1:"):
        all_jobs(["--cores", "1"], tmp_path)


def test_what_a_program_really_says_is_shown(tmp_path, monkeypatch):
    (tmp_path / "fails.py").write_text("import sys\nprint('ä word')\nsys.exit('the error')\n", encoding="utf-8")
    monkeypatch.setattr(plan, "_CHILD", tmp_path / "fails.py")
    with pytest.raises(FormsafeError, match=r"could not do --dry-run --cores 1:\nä word\nthe error$"):
        all_jobs(["--cores", "1"], tmp_path)


def test_the_configuration_is_what_follows_its_option():
    assert config_files(["--cores", "1", "--configfile", "a.yaml", "b.yaml", "--config", "x=1"]) == ["a.yaml", "b.yaml"]
    assert config_files(["--configfile", "a.yaml"]) == ["a.yaml"]
    assert config_files(["--cores", "1"]) == []


def job(name: str, **more) -> SimpleNamespace:
    given = {"output": [], "benchmark": None, "resources": {}, "planned": False, "recorded": True, "reason": Reason()}
    return SimpleNamespace(rule=SimpleNamespace(name=name), **{**given, **more})


def dag(*jobs: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(
        jobs=jobs,
        needrun=lambda job: job.planned,
        reason=lambda job: job.reason,
        workflow=SimpleNamespace(persistence=SimpleNamespace(has_metadata=lambda job: job.recorded)),
    )


def reason(forced: bool = False, after: str | None = None) -> Reason:
    made = Reason()
    made.forced = forced
    made.updated_input_run.update(() if after is None else (after,))
    return made


NOTHING = {"outputs": [], "benchmark": None, "gpus": 0, "planned": False, "gone": [], "unrecorded": False, "why": []}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, {}),
        ({"recorded": False}, {}),  # a target: nothing that a record could be of
        ({"output": ["there"]}, {"outputs": ["there"]}),
        ({"output": ["there"], "recorded": False}, {"outputs": ["there"], "unrecorded": True}),
        ({"output": ["there", "no"]}, {"outputs": ["there", "no"], "gone": ["no"]}),
        ({"benchmark": Path("b/a.tsv"), "resources": {"gpu": 2}}, {"benchmark": "b/a.tsv", "gpus": 2}),
        ({"planned": True, "reason": reason(forced=True)}, {"planned": True, "why": ["forced"]}),
        ({"planned": True, "reason": reason(after="there")}, {"planned": True, "why": ["after train"]}),
        ({"planned": False, "reason": reason(forced=True)}, {}),
    ],
)
def test_a_job_is_described(tmp_path, monkeypatch, given, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    described = job("judge", **given)
    assert plan_child.describe(dag(described), described, {"there": "train"}) == {"rule": "judge", **NOTHING, **told}


@pytest.fixture
def command_line(monkeypatch):
    """Snakemake's command line, which plans two jobs and ends with a status that the test sets."""
    ended = SimpleNamespace(code=0, words=None, planned=[])
    jobs = [job("train", output=[Path("made")]), job("judge", planned=True, reason=reason(after="made"))]
    workflow_api = SimpleNamespace(_workflow=SimpleNamespace(dag=dag(*jobs)))

    def main(words):
        ended.words = words
        ended.planned.append(api.WorkflowApi.dag(workflow_api, 1, more=2))
        if ended.code is not None:
            raise SystemExit(ended.code)

    monkeypatch.setattr(api.WorkflowApi, "dag", lambda *arguments, **more: (arguments, more))
    monkeypatch.setattr(cli, "main", main)
    monkeypatch.setattr(sys, "path", ["another copy of the library", *sys.path])
    yield ended
    assert sys.path[0] == str(Path(plan.__file__).parents[2])
    assert ended.planned == [((workflow_api, 1), {"more": 2})]


@pytest.mark.parametrize("code", [None, 0])
def test_the_plan_of_the_command_line_is_written(tmp_path, monkeypatch, command_line, code):
    command_line.code = code
    monkeypatch.setattr(sys, "argv", ["plan_child.py", str(tmp_path / "plan.json"), "--cores", "1"])
    runpy.run_path(plan_child.__file__, run_name="__main__")
    assert command_line.words == ["--dry-run", "--quiet", "all", "--cores", "1"]
    assert json.loads((tmp_path / "plan.json").read_text()) == [
        {"rule": "train", **NOTHING, "outputs": ["made"], "gone": ["made"]},
        {"rule": "judge", **NOTHING, "planned": True, "why": ["after train"]},
    ]


def test_a_plan_that_fails_is_not_written(tmp_path, monkeypatch, command_line):
    command_line.code = 1
    monkeypatch.setattr(sys, "argv", ["plan_child.py", str(tmp_path / "plan.json")])
    with pytest.raises(SystemExit):
        runpy.run_path(plan_child.__file__, run_name="__main__")
    assert not (tmp_path / "plan.json").exists()
