"""Local files of every kind, and the lock of sources."""

import gzip
import json
import threading
from contextlib import contextmanager
from itertools import repeat
from types import SimpleNamespace

import httpx
import pytest
import yaml

from formsafe.config.settings.data import DataSource
from formsafe.core.errors import FormsafeError
from formsafe.sources import rows as module
from formsafe.sources.lock import check_or_add, locked_entry
from formsafe.sources.rows import SourceRows, download, read_source, with_variables, without_secrets

ROWS = [{"goal": "Hide a gnome", "n": "1"}, {"goal": 'Paint it "red", twice\nat night', "n": "2"}]


def write_csv(path):
    import csv

    with open(path, "w", encoding="utf-8-sig", newline="") as lines:
        writer = csv.DictWriter(lines, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)


def write_jsonl(path):
    path.write_text("".join(json.dumps(row) + "\r\n" for row in ROWS) + "\n", encoding="utf-8")


def write_json(path):
    path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")


def write_parquet(path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "json": write_json, "parquet": write_parquet}


def read(path):
    source = read_source(DataSource(path=str(path)), "no.lock")
    return source.rows, source


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_kind_of_file_gives_the_same_rows_and_digest(tmp_path, suffix):
    WRITERS[suffix](tmp_path / f"rows.{suffix}")
    write_jsonl(tmp_path / "reference.jsonl")
    rows, source = read(tmp_path / f"rows.{suffix}")
    assert rows == ROWS
    assert source.describe() == read(tmp_path / "reference.jsonl")[1].describe() | {"source": source.place}


def test_a_glob_reads_files_in_order(tmp_path):
    for number in (2, 1, 3):
        (tmp_path / f"part-{number}.jsonl").write_text(json.dumps({"n": number}) + "\n")
    assert [row["n"] for row in read(tmp_path / "part-*.jsonl")[0]] == [1, 2, 3]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("rows.txt", b"x", "ends in .csv"),
        ("rows.csv", b"a,b\n1,2,3\n", "row 0: 3 fields where the first line has 2"),
        ("rows.csv", b'a,b\n"1,2\n', "not CSV"),
        ("rows.csv", "a\n\u00e9\n".encode("latin-1"), "not UTF-8"),
        ("rows.jsonl", b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("rows.jsonl", b'{"a": 1e999}\n', "line 1: .*number too large"),
        ("rows.jsonl", b'{"a": NaN}\n', "line 1: .*NaN is not a number"),
        ("rows.jsonl", b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", "line 1: .*nested"),
        ("rows.jsonl", b"[" * 100_000, "line 1: .*nested"),
        ("rows.jsonl", b"7\n", "row 0: expected a JSON object"),
        ("rows.json", b'[{"a": 1}, ', "not JSON"),
        ("rows.parquet", b"PAR1 cut off", "not a whole Parquet file"),
        ("rows.jsonl.gz", gzip.compress(b'{"a": 1}' * 99, mtime=0)[:-9], "cannot be read"),
        ("rows.zip.gz", b"x", "ends in .csv"),
    ],
)
def test_broken_files_are_refused_by_name_and_row(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormsafeError, match=message) as failure:
        read(tmp_path / name)
    assert name in str(failure.value)


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_a_gzipped_file_is_read_whatever_its_name(tmp_path, name):
    write_csv(tmp_path / "plain.csv")
    (tmp_path / name).write_bytes(gzip.compress((tmp_path / "plain.csv").read_bytes()))
    assert read(tmp_path / name)[0] == ROWS


@pytest.mark.parametrize("name, separator", [("rows.csv", "\t"), ("rows.tsv", "\t"), ("rows.csv", ";")])
def test_other_separators_are_read(tmp_path, name, separator):
    (tmp_path / name).write_text(f'goal{separator}n\n"a, b{separator}c"{separator}1\n')
    assert read(tmp_path / name)[0] == [{"goal": f"a, b{separator}c", "n": "1"}]


def test_folders_and_devices_are_no_files(tmp_path):
    import os

    (tmp_path / "x.csv").mkdir()
    with pytest.raises(FormsafeError, match=r"x\.csv is a folder\. Name the files in it"):
        read(tmp_path / "x.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(FormsafeError, match=r"pipe\.csv: expected a file"):
        read(tmp_path / "pipe.csv")


@pytest.mark.parametrize("name", ["a[1].csv", "{b}.csv", "c*.csv"])
def test_a_file_whose_name_looks_like_a_pattern_is_found(tmp_path, name):
    write_csv(tmp_path / name)
    (tmp_path / "a1.csv").write_text("goal\nanother\n")
    assert read(tmp_path / name)[0] == ROWS


def test_a_path_without_files_has_no_rows(tmp_path):
    assert read(tmp_path / "*.csv")[0] == []


def test_local_files_need_no_lock(tmp_path):
    write_csv(tmp_path / "rows.csv")
    _, source = read(tmp_path / "rows.csv")
    assert (source.place, source.key, source.commit) == (str(tmp_path / "rows.csv"), None, None)
    source.settle(tmp_path / "lock.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_the_columns_of_a_source_are_those_of_its_first_row():
    assert SourceRows([{"b": 1, "a": 2}, {"a": 3, "c": 4}], "here").describe()["columns"] == ["b", "a"]
    assert SourceRows([], "here").describe()["columns"] == []


def test_the_digest_is_of_the_rows_in_order_whatever_the_order_of_their_columns():
    def digest(*rows):
        return SourceRows([*rows], "here").describe()["digest"]

    first, second = {"a": 1, "b": "ä"}, {"a": 2, "b": None}
    assert digest(first, second) == digest({"b": "ä", "a": 1}, second)
    assert len({digest(), digest(first), digest(first, second), digest(second, first)}) == 4


def test_five_million_rows_are_read_where_nobody_says_how_many_there_are(tmp_path, monkeypatch):
    write_csv(tmp_path / "rows.csv")
    monkeypatch.setattr(module, "file_rows", lambda file: repeat(ROWS[0], 5_000_000))
    assert len(read(tmp_path / "rows.csv")[0]) == 5_000_000
    monkeypatch.setattr(module, "file_rows", lambda file: repeat(ROWS[0], 5_000_001))
    with pytest.raises(FormsafeError, match=r"rows\.csv has more than 5,000,000 rows"):
        read(tmp_path / "rows.csv")


@pytest.fixture
def server(monkeypatch):
    """Answers with `blocks`, each `seconds` after the one before; keeps how it was called."""
    given = SimpleNamespace(blocks=[], seconds=0.0, clock=1000.0, calls=[])

    def blocks():
        for block in given.blocks:
            given.clock += given.seconds
            yield block

    @contextmanager
    def stream(*arguments, **more):
        given.calls.append((arguments, more))
        yield SimpleNamespace(raise_for_status=lambda: None, iter_bytes=blocks)

    monkeypatch.setattr(httpx, "stream", stream)
    monkeypatch.setattr(module.time, "monotonic", lambda: given.clock)
    return given


URL = "https://example.org/rows.csv"


def test_a_server_has_fifteen_seconds_to_answer_and_an_hour_to_send_everything(server, tmp_path):
    server.blocks, server.seconds = [b"a\n", b"1\n"], 1800.0
    assert download(URL, tmp_path).read_bytes() == b"a\n1\n"
    assert server.calls == [(("GET", URL), {"follow_redirects": True, "timeout": 15.0})]
    server.seconds = 1800.25
    with pytest.raises(FormsafeError, match=r"rows\.csv sends more than 16 GiB or takes longer than 1 h\. Check"):
        download(URL, tmp_path)


def test_a_server_may_send_exactly_the_most_bytes(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_DATA_BYTES", 4)
    server.blocks = [b"ab", b"cd"]
    assert download(URL, tmp_path).read_bytes() == b"abcd"
    server.blocks = [b"ab", b"cde"]
    with pytest.raises(FormsafeError, match="sends more than"):
        download(URL, tmp_path)


def test_of_the_variables_that_are_not_set_the_first_is_named(monkeypatch):
    monkeypatch.setenv("SET", "value")
    assert with_variables("https://example.org/a?key=$SET") == "https://example.org/a?key=value"
    with pytest.raises(FormsafeError, match="needs the variable FIRST_KEY, which is not set"):
        with_variables("https://example.org/a?a=$SET&b=$FIRST_KEY&c=$SECOND_KEY")


def test_addresses_are_shown_without_secrets():
    assert without_secrets("https://me:token@example.org:8/a.csv?key=token#x") == "https://example.org:8/a.csv"


def test_the_lock_notes_checks_and_keeps_other_entries(tmp_path):
    lock = tmp_path / "config" / "sources.lock.yaml"
    assert locked_entry(lock, "a") is None
    check_or_add(lock, "a", {"rows": 1, "digest": "x"})
    check_or_add(lock, "b", {"commit": "c"})
    check_or_add(lock, "a", {"rows": 1, "digest": "x"})
    assert yaml.safe_load(lock.read_text())["sources"] == {"a": {"rows": 1, "digest": "x"}, "b": {"commit": "c"}}
    before = lock.read_text()
    with pytest.raises(FormsafeError, match=r"`a` has changed.*: digest x -> y\. .*delete the entry `a`"):
        check_or_add(lock, "a", {"rows": 1, "digest": "y"})
    assert lock.read_text() == before and before.startswith("# What sources")


def test_parallel_fetches_do_not_lose_entries(tmp_path):
    threads = [
        threading.Thread(target=check_or_add, args=(tmp_path / "lock.yaml", f"source {number}", {"rows": number}))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(yaml.safe_load((tmp_path / "lock.yaml").read_text())["sources"]) == 12


@pytest.mark.parametrize("text", ["sources: [", "7", "sources: {a: 1}", ""])
def test_a_damaged_lock_is_an_error_not_an_empty_one(tmp_path, text):
    (tmp_path / "lock.yaml").write_text(text)
    with pytest.raises(FormsafeError, match="not a lock of sources"):
        check_or_add(tmp_path / "lock.yaml", "a", {})
