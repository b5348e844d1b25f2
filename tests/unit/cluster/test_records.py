"""Records of how results were made travel with the results."""

import gzip
import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

from formsafe.cluster.records import (
    NAME,
    finished_unseen,
    keep_records,
    record_file,
    record_unseen,
    refuse_unrecorded,
    require_records,
    restore_records,
    unfinished_outputs,
)
from formsafe.core.errors import FormsafeError

STUDY = Path("results/mine")
FILES = {"results/mine/a.json": "1", f"results/mine/{'long' * 60}/é+=.json": "2", "results/other/a.json": "3"}


def snakemake_in(directory: Path) -> FilePersistence:
    """Snakemake's own reader and writer of records."""
    keeper = FilePersistence.__new__(FilePersistence)
    keeper._max_len, keeper._metadata_path = 255, str(directory / ".snakemake/metadata")
    return keeper


def params_in(directory: Path, path: str) -> list[str] | None:
    record = snakemake_in(directory)._io_read(str(directory / ".snakemake/metadata"), path)
    return record.get("params")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with results of two studies and Snakemake's records of them."""
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        snakemake_in(tmp_path)._write_record(path, MetadataRecord(rule="r", params=[repr(text)]))
    keep_records(STUDY, tmp_path)
    return tmp_path


def copied(made: Path, folder: Path) -> Path:
    shutil.copytree(made / "results", folder / "results")
    return folder


def test_a_copy_without_snakemakes_folder_gets_the_records_of_its_study(made: Path, tmp_path_factory):
    copy = copied(made, tmp_path_factory.mktemp("copy"))
    assert restore_records(STUDY, copy) == 2
    first, second, other = FILES
    assert (params_in(copy, first), params_in(copy, second)) == (["'1'"], ["'2'"])
    assert params_in(copy, other) is None
    assert restore_records(STUDY, copy) == restore_records(STUDY, made) == 0  # they are its own now


def test_records_of_another_study_under_the_same_name_give_way_to_those_that_came_with_the_results(
    made: Path, tmp_path_factory
):
    copy = copied(made, tmp_path_factory.mktemp("copy"))
    snakemake_in(copy)._write_record("results/mine/a.json", MetadataRecord(params=["'of another judge'"]))
    restore_records(STUDY, copy)
    assert params_in(copy, "results/mine/a.json") == ["'1'"]


def test_a_file_that_is_not_the_recorded_one_agrees_with_no_settings(made: Path, tmp_path_factory):
    copy = copied(made, tmp_path_factory.mktemp("copy"))
    (copy / "results/mine/a.json").write_text("edited")
    restore_records(STUDY, copy)
    assert "another file" in params_in(copy, "results/mine/a.json")[0]


def test_what_was_made_again_is_kept_anew_and_what_is_gone_is_left_out(made: Path, tmp_path_factory):
    first, second, _ = FILES
    (made / first).write_text("9")
    snakemake_in(made)._write_record(first, MetadataRecord(rule="r", params=["'9'"]))
    (made / second).unlink()
    keep_records(STUDY, made)
    copy = copied(made, tmp_path_factory.mktemp("copy"))
    assert restore_records(STUDY, copy) == 1 and params_in(copy, first) == ["'9'"]


def kept_in(directory: Path) -> set[str]:
    lines = gzip.decompress((directory / STUDY / NAME).read_bytes()).decode().splitlines()
    return {json.loads(line)["path"] for line in lines}


THREE = [f"results/mine/{name}.json" for name in ("0", "a", "z")]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three results of the study between those of others, whichever way records are sorted."""
    for path in ["results/0/a.json", "results/Z/a.json", *THREE, "results/z/a.json"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("1")
        snakemake_in(tmp_path)._write_record(path, MetadataRecord(rule="r", params=["'1'"]))
    keep_records(STUDY, tmp_path)
    return tmp_path


@pytest.mark.parametrize("gone", THREE)
def test_whichever_result_is_gone_the_records_of_the_others_are_kept_and_restored(three, tmp_path_factory, gone):
    assert kept_in(three) == set(THREE)
    copy = copied(three, tmp_path_factory.mktemp("copy"))
    (copy / gone).unlink()
    assert restore_records(STUDY, copy) == 2
    (three / gone).unlink()
    keep_records(STUDY, three)
    assert kept_in(three) == {*THREE} - {gone}


def test_the_copy_of_the_records_is_written_only_when_it_has_others(three):
    before = (three / STUDY / NAME).stat()
    keep_records(STUDY, three)
    assert (three / STUDY / NAME).stat().st_ino == before.st_ino
    shutil.rmtree(three / ".snakemake/metadata")  # Snakemake forgot them: the copy is the only one
    keep_records(STUDY, three)
    assert kept_in(three) == set(THREE)


def test_records_without_results_restore_nothing(three, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    (copy / STUDY).mkdir(parents=True)
    shutil.copy(three / STUDY / NAME, copy / STUDY)
    assert restore_records(STUDY, copy) == 0 and not (copy / ".snakemake/metadata").exists()


def test_results_without_any_record_say_in_one_line_what_to_copy(made: Path, tmp_path_factory):
    copy = copied(made, tmp_path_factory.mktemp("copy"))
    (copy / STUDY / NAME).unlink()
    assert restore_records(STUDY, copy) == 0
    with pytest.raises(FormsafeError, match=r"copy results/mine/records\.jsonl\.gz") as refused:
        require_records(FILES, STUDY, copy, "make recover")
    assert "\n" not in str(refused.value)
    require_records(["results/mine/not_made_yet.json"], STUDY, copy, "make recover")
    require_records(FILES, STUDY, made, "make recover")


def test_one_result_without_a_record_names_the_call_that_enters_it(made: Path):
    first, second, _ = FILES
    snakemake_in(made)._delete_record(first)
    (made / "unrecorded").touch()
    with pytest.raises(FormsafeError, match=f"no record of 1 results, the first of them {first}.*: make recover"):
        refuse_unrecorded([second, first], made, "make recover")
    refuse_unrecorded([second], made, "make recover")
    with pytest.raises(FormsafeError, match=f"no record of 2 results, the first of them {first}:"):
        refuse_unrecorded([first, "results/mine/not_made_yet.json", "unrecorded"], made, "make recover")
    with pytest.raises(FormsafeError, match="If their Snakemake was killed: make recover"):
        require_records([first], STUDY, made, "make recover")
    (made / ".snakemake/locks").mkdir()
    (made / ".snakemake/locks/0.input.lock").touch()
    require_records([first], STUDY, made, "make recover")  # a Snakemake at work enters it


def test_jobs_that_finished_unseen_before_ctrl_c_are_recorded_and_no_others(made: Path):
    now, entered = float(int(time.time())), []
    for name in ("done", "seen", "half", "old", "marked"):
        for part in (f"{name}-a", f"{name}-b")[: 1 if name == "half" else 2]:
            (made / part).write_text("1")
            os.utime(made / part, (now - {"old": 600, "done": 60}.get(name, 0),) * 2)
    for part in ("seen-a", "seen-b"):
        snakemake_in(made)._write_record(part, MetadataRecord(endtime=(made / part).stat().st_mtime))
    snakemake_in(made)._io_write(str(made / ".snakemake/incomplete"), {"external_jobid": None}, "marked-b")
    jobs = [SimpleNamespace(output=[f"{name}-a", f"{name}-b"]) for name in ("done", "seen", "half", "old", "marked")]
    workflow = SimpleNamespace(
        dag=SimpleNamespace(needrun_jobs=lambda: [SimpleNamespace(output=[]), *reversed(jobs)]),
        persistence=SimpleNamespace(finished=lambda job: job.output),
        async_run=entered.append,
    )
    assert record_unseen(workflow, now - 60, made) == 1 and entered == [["done-a", "done-b"]]


def test_only_what_is_newer_than_its_record_and_that_snakemake_was_finished_unseen(made: Path):
    first, second, _ = FILES
    now = (made / first).stat().st_mtime
    snakemake_in(made)._write_record(first, MetadataRecord(endtime=now))
    assert not finished_unseen([[first]], now - 60, made)  # recorded
    assert finished_unseen([[second]], now - 60, made)  # its record has no time
    snakemake_in(made)._write_record(first, MetadataRecord(endtime=now - 600))
    assert finished_unseen([[first]], now - 60, made) and not finished_unseen([[first]], now + 60, made)
    snakemake_in(made)._delete_record(first)
    assert finished_unseen([[first]], now - 60, made) and not finished_unseen([[first]], now + 60, made)
    snakemake_in(made)._io_write(str(made / ".snakemake/incomplete"), {"external_jobid": None}, first)
    assert finished_unseen([[second, first]], now + 60, made)


@pytest.mark.parametrize(
    ("made_at", "recorded", "unseen"),
    [(0.01, 0.0, False), (0.02, 0.0, True), (0.5, 0.0, True), (0.0, 0.5, False), (5.0, None, True)],
)
def test_a_file_is_newer_than_its_record_by_more_than_a_hundredth_of_a_second(made: Path, made_at, recorded, unseen):
    first, *_ = FILES
    os.utime(made / first, (made_at, made_at))
    snakemake_in(made)._write_record(first, MetadataRecord(endtime=recorded))
    assert bool(finished_unseen([[first]], 0.0, made)) is unseen
    assert bool(finished_unseen([[first]], (made / first).stat().st_mtime, made)) is unseen  # made at the very start


def test_what_a_killed_job_left_is_no_result_without_a_record(made: Path, tmp_path_factory):
    copy = copied(made, tmp_path_factory.mktemp("copy"))
    (copy / STUDY / NAME).unlink()
    for path in FILES:
        snakemake_in(copy)._io_write(str(copy / ".snakemake/incomplete"), {"external_jobid": None}, path)
    assert unfinished_outputs(copy) == set(FILES) and unfinished_outputs(made) == set()
    require_records(FILES, STUDY, copy, "make recover")


def test_the_copy_is_json_lines(made: Path):
    assert kept_in(made) == {path for path in FILES if path.startswith("results/mine")}


@pytest.mark.parametrize("torn", ["", '{"rule": "r", "par', "[]", "\udcff"])
def test_a_torn_record_is_none_and_no_other_study_suffers(made: Path, torn):
    """Snakemake writes records in place, so a kill or a full disk leaves part of one."""
    first, second, other = FILES
    for path in (first, other):
        record_file(made, path).write_text(torn, errors="surrogateescape")
    keep_records(STUDY, made)
    with gzip.open(made / STUDY / NAME, "rt") as lines:
        assert [json.loads(line)["path"] for line in lines] == [second]
    with pytest.raises(FormsafeError, match=f"no record of 1 results, the first of them {first}"):
        refuse_unrecorded([first, second], made, "make recover")
    assert finished_unseen([(first,), (second,)], 0.0, made) == [(first,), (second,)]
