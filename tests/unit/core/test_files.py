"""Whole files or no files, and nothing beside them."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from formsafe.core.files import replacing, write_text


def _die_while_writing(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_writer_left_goes_when_the_file_is_written_again(tmp_path: Path):
    target = tmp_path / "summary.csv"
    for _ in range(2):
        writer = multiprocessing.get_context("fork").Process(target=_die_while_writing, args=(target,))
        writer.start()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
    assert not target.exists()
    write_text(target, "whole")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"summary.csv": "whole"}


def test_a_failed_write_changes_nothing(tmp_path: Path):
    target = tmp_path / "summary.csv"
    write_text(target, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "\ud800")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"summary.csv": "before"}
