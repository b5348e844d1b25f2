"""The terminal: how long the rest takes, and two lines at Ctrl-C."""

import io
import logging
import sys

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from formsafe.cluster import progress
from formsafe.cluster.progress import STOPPED, Interruption, Progress, watch


def record(message: str = "", **more) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", logging.INFO, "", 0, message, None, None)
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the monotonic clock, moved by the test; it has run before."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def run(shown: Progress, clock: list[float], job: int, rule: str, seconds: float) -> None:
    shown.emit(record(event=LogEvent.JOB_INFO, jobid=job, rule_name=rule))
    clock[0] += seconds
    shown.emit(record(event=LogEvent.JOB_FINISHED, job_id=job))


def test_the_rest_takes_as_long_as_jobs_of_its_rules_did(clock, tmp_path, capsys):
    shown = Progress({"train": 4, "judge": 2}, tmp_path)
    run(shown, clock, 1, "train", 600)
    said = capsys.readouterr().err
    assert "1 of 6 jobs are done; about 30 min to go, not counting 2 jobs of rules that none has finished of." in said
    shown = Progress({"train": 1, "judge": 2}, tmp_path)
    run(shown, clock, 1, "train", 600)
    assert "1 of 3 jobs are done; the time to go is not known yet." in capsys.readouterr().err
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge/a.tsv").write_text("s\th:m:s\n300.0\t0:05:00\n")
    shown = Progress({"train": 4, "judge": 2}, tmp_path)
    run(shown, clock, 1, "train", 600)
    assert "about 40 min to go." in capsys.readouterr().err


def test_jobs_that_run_at_once_shorten_the_rest_and_the_last_one_ends_it(clock, tmp_path, capsys):
    shown = Progress({"train": 4}, tmp_path)
    for job in (1, 2):
        shown.emit(record(event=LogEvent.JOB_INFO, jobid=job, rule_name="train"))
    clock[0] += 600
    for job in (1, 2):
        shown.emit(record(event=LogEvent.JOB_FINISHED, job_id=job))
    assert "2 of 4 jobs are done; about 10 min to go." in capsys.readouterr().err.splitlines()
    run(shown, clock, 3, "train", 600)
    run(shown, clock, 4, "train", 600)
    shown.emit(record(event=LogEvent.JOB_FINISHED, job_id=99))  # not one of ours
    assert capsys.readouterr().err.splitlines()[-1] == "4 of 4 jobs are done."


def test_the_last_job_of_a_rule_counts_and_time_without_jobs_makes_the_rest_no_longer(clock, tmp_path, capsys):
    shown = Progress({"train": 2}, tmp_path)
    clock[0] += 600
    run(shown, clock, 1, "train", 600)
    assert capsys.readouterr().err == "1 of 2 jobs are done; about 10 min to go.\n"


def test_jobs_of_less_than_a_second_count_as_exactly(clock, tmp_path, capsys):
    shown = Progress({"split": 102}, tmp_path)
    for event, name in ((LogEvent.JOB_INFO, "jobid"), (LogEvent.JOB_FINISHED, "job_id")):
        for job in (1, 2):
            shown.emit(record(event=event, rule_name="split", **{name: job}))
        clock[0] += 0.5
    assert "2 of 102 jobs are done; about 25 s to go." in capsys.readouterr().err.splitlines()
    run(Progress({"split": 2}, tmp_path), clock, 1, "split", 0)  # within the clock's resolution
    assert capsys.readouterr().err == "1 of 2 jobs are done; about 0 s to go.\n"


def test_a_record_without_a_number_is_of_no_job_that_has_one(clock, tmp_path, capsys):
    for job in (-2, 0, 1, 2):
        shown = Progress({"train": 2}, tmp_path)
        shown.emit(record(event=LogEvent.JOB_INFO, rule_name="train"))
        shown.emit(record(event=LogEvent.JOB_FINISHED, job_id=job))
        shown = Progress({"train": 2}, tmp_path)
        shown.emit(record(event=LogEvent.JOB_INFO, jobid=job, rule_name="train"))
        shown.emit(record(event=LogEvent.JOB_FINISHED))
        assert capsys.readouterr().err == ""


def test_a_line_is_shown_at_once(clock, tmp_path, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(shown))  # holds lines back
    run(Progress({"train": 1}, tmp_path), clock, 1, "train", 1)
    assert shown.getvalue() == b"1 of 1 jobs are done.\n"


def test_the_log_file_keeps_what_the_terminal_leaves_out(clock, tmp_path, capsys):
    terminal, file = logging.StreamHandler(io.StringIO()), logging.FileHandler(tmp_path / "log")
    logger = logging.Logger("snakemake")
    logger.addHandler(terminal)
    logger.addHandler(file)
    interruption = watch(logger, {"train": 1}, tmp_path)
    for event in (
        record(event=LogEvent.JOB_INFO, jobid=1, rule_name="train"),
        record(event=LogEvent.JOB_FINISHED, job_id=1),
        record("Terminating processes on user request, this might take some time."),
        record("At least one job did not complete successfully."),
    ):
        logger.handle(event)
    file.close()
    assert interruption.interrupted and "1 of 1 jobs are done." in capsys.readouterr().err
    assert terminal.stream.getvalue().split() == STOPPED.split()
    assert "At least one job did not complete" in (tmp_path / "log").read_text()


def test_after_an_interruption_only_two_lines_are_shown():
    stop = Interruption()
    before, told, after = (
        record("Finished jobid: 3"),
        record("Terminating processes on user request, this might take some time."),
        record("At least one job did not complete successfully."),
    )
    assert [stop.filter(before), stop.interrupted] == [True, False]
    assert stop.filter(told) and told.getMessage() == STOPPED and len(STOPPED.splitlines()) == 2
    assert not stop.filter(after) and stop.interrupted
