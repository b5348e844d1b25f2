"""Data sets, downloads and servers of strangers: no file of the user's is read, nothing is without end."""

import gzip
import json
import os

import pytest

from formsafe.config.settings.data import DataSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import loads, read_json, read_jsonl
from formsafe.core.limits import capped
from formsafe.sources import hub as hub_module
from formsafe.sources import readers, rows
from formsafe.sources.data_card import check_card
from formsafe.sources.rows import read_source

ROWS = b"prompt\nfrom the data set\n"
SECRET = "aws_secret,hunter22222"

CARDS = {
    "upwards": "data_files: ../creds.csv",
    "upwards in a list": "data_files: [data/train.csv, ../../../creds.csv]",
    "upwards by split": "data_files: [{split: train, path: data/../../creds.csv}]",
    "list by split": "data_files: [{split: train, path: [data/train.csv, ../creds.csv]}]",
    "absolute": "data_files: {creds}",
    "home": "data_files: ~/creds.csv",
    "glob": "data_files: '../*.csv'",
    "file protocol": "data_files: 'file://{creds}'",
    "http": "data_files: http://127.0.0.1:9/creds.csv",
    "hub": "data_files: hf://datasets/owner/other/creds.csv",
    "chained": "data_files: 'zip://*::{creds}'",
    "chained without a protocol": "data_files: 'data/*.csv::train.csv'",
    "simple cache": "data_files: 'simplecache::file://{creds}'",
    "folder": "data_dir: ../..",
    "backslashes": "data_files: '..\\creds.csv'",
}


@pytest.fixture
def outside(tmp_path):
    """The user's own file, beside and above everything that is fetched."""
    file = tmp_path / "creds.csv"
    file.write_text(f"prompt\n{SECRET}\n".replace(",", " "))
    return file


def card(line, creds):
    return f"---\nconfigs:\n- config_name: default\n  {line.replace('{creds}', str(creds))}\n---\n".encode()


@pytest.mark.parametrize("case", CARDS)
def test_a_data_card_names_no_file_outside_its_snapshot(hub, tmp_path, outside, case):
    hub.add("datasets/owner/data", {"README.md": card(CARDS[case], outside), "data/train.csv": ROWS})
    for folder in ("cache", "cache/datasets--owner--data", "cache/datasets--owner--data/snapshots"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "creds.csv").write_bytes(outside.read_bytes())  # wherever `..` leads
    asked = len(hub.requests)
    with pytest.raises(FormsafeError, match=r"its card .* names data outside the data set"):
        read_source(DataSource(hub={"repo": "owner/data"}), tmp_path / "lock.yaml")
    assert not any("other" in request for request in hub.requests[asked:])


def test_an_honest_card_is_followed(hub, tmp_path):
    files = {"README.md": card("data_files: data/*.csv", ""), "data/train.csv": ROWS, "more.csv": b"prompt\nno\n"}
    hub.add("datasets/owner/data", files)
    assert read_source(DataSource(hub={"repo": "owner/data"}), tmp_path / "lock.yaml").rows == [
        {"prompt": "from the data set"}
    ]


def test_columns_that_a_card_calls_images_open_no_file(hub, tmp_path, outside):
    """`datasets` opens the path, or address, that a row gives for an image, wherever it is."""
    feature = b"---\ndataset_info:\n  features:\n  - name: prompt\n    dtype: image\n---\n"
    row = json.dumps({"prompt": {"path": str(outside), "bytes": None}}).encode()
    hub.add("datasets/owner/data", {"README.md": feature, "train.jsonl": row})
    found = read_source(DataSource(hub={"repo": "owner/data"}), tmp_path / "lock.yaml").rows
    assert found == [{"prompt": {"path": str(outside), "bytes": None}}]


def test_a_linked_file_of_a_snapshot_is_not_read(hub, tmp_path, outside):
    hub.add("datasets/owner/data", {"data/train.csv": ROWS})
    source = DataSource(hub={"repo": "owner/data"})
    read_source(source, tmp_path / "lock.yaml")
    linked = next((tmp_path / "cache").rglob("snapshots/*/data/train.csv"))
    linked.unlink()
    linked.symlink_to(outside)
    with pytest.raises(FormsafeError, match="outside the data set"):
        read_source(source, tmp_path / "lock.yaml")


@pytest.mark.parametrize(
    "text", [b"---\n" + b"[" * 3000, b"---\na: !!python/object/apply:os.system [id]\n---\n", b"---\n\tx: :\n---\n"]
)
def test_a_card_that_is_no_yaml_is_refused(tmp_path, text):
    (tmp_path / "README.md").write_bytes(text)
    with pytest.raises(FormsafeError, match="not YAML"):
        check_card(tmp_path, "owner/data")


def test_a_data_set_too_large_is_not_fetched(hub, tmp_path, monkeypatch):
    hub.add("datasets/owner/data", {"data/train.csv": ROWS})
    answer = hub.answer

    def large(path):
        status, headers, body = answer(path)
        if "/revision/" in path:
            body = json.dumps(
                json.loads(body) | {"siblings": [{"rfilename": "data/train.csv", "size": 10**13}]}
            ).encode()
        return status, headers, body

    monkeypatch.setattr(hub, "answer", large)
    with pytest.raises(FormsafeError, match=r"9313 GiB of data, more than 16"):
        read_source(DataSource(hub={"repo": "owner/data"}), tmp_path / "lock.yaml")
    assert not any("resolve" in request for request in hub.requests)
    assert hub_module.MAX_DATA_BYTES == 16 * 2**30


def test_a_download_has_an_end_in_bytes_after_decompression_and_in_time(hub, tmp_path, monkeypatch):
    hub.files["plain/rows.csv", None] = b"a\n" + b"x\n" * 500_000
    source = DataSource(url=f"{hub.address}/plain/rows.csv")
    monkeypatch.setattr(rows, "MAX_DATA_BYTES", 100_000)
    with pytest.raises(FormsafeError, match="sends more than"):
        read_source(source, tmp_path / "lock.yaml")
    monkeypatch.setattr(rows, "MAX_DATA_BYTES", 10**9)
    monkeypatch.setattr(rows, "DOWNLOAD_SECONDS", -1.0)
    with pytest.raises(FormsafeError, match="takes longer"):
        read_source(source, tmp_path / "lock.yaml")


def test_a_reply_that_unpacks_to_much_is_not_kept(hub, tmp_path, monkeypatch):
    packed = gzip.compress(b"x" * 10**7)
    answer = hub.answer
    bomb = (200, {"Content-Encoding": "gzip"}, packed)
    monkeypatch.setattr(hub, "answer", lambda path: bomb if path.endswith("rows.csv") else answer(path))
    monkeypatch.setattr(rows, "MAX_DATA_BYTES", 10**6)
    assert len(packed) < 10**5
    with pytest.raises(FormsafeError, match="sends more than"):
        read_source(DataSource(url=f"{hub.address}/plain/rows.csv"), tmp_path / "lock.yaml")


def test_rows_are_read_no_further_than_needed(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' * 50 + "broken")
    assert len(read_source(DataSource(path=str(path)), "lock", most=10).rows) == 11
    monkeypatch.setattr(rows, "MAX_ROWS", 20)
    with pytest.raises(FormsafeError, match="more than 20 rows"):
        read_source(DataSource(path=str(path)), "lock")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_a_gzipped_file_that_unpacks_to_one_endless_line_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(readers, "MAX_DOCUMENT", 10_000)
    monkeypatch.setattr(readers, "MAX_FIELD", 10_000)
    (tmp_path / name).write_bytes(gzip.compress(b'["' + b"x" * 10**6 if name == "rows.json" else b'"' + b"x" * 10**6))
    with pytest.raises(FormsafeError, match=name):
        read_source(DataSource(path=str(tmp_path / name)), "lock")


def test_a_path_to_a_device_is_not_read():
    os.stat("/dev/zero")
    with pytest.raises(FormsafeError, match="expected a file"):
        read_source(DataSource(path="/dev/zero"), "lock")


@pytest.mark.parametrize(
    "text", ["1" * 400, "-" + "1" * 400, "1e999", "NaN", "-Infinity", "[" * 200 + "]" * 200, '{"a":' * 200, "[" * 10**6]
)
def test_json_of_strangers_has_limits(tmp_path, text):
    with pytest.raises(ValueError):
        loads(text)
    (tmp_path / "x.json").write_text(text)
    (tmp_path / "x.jsonl").write_text(f'{{"a": {text}}}\n')
    with pytest.raises(FormsafeError, match=r"x\.json"):
        read_json(tmp_path / "x.json")
    with pytest.raises(FormsafeError, match=r"x\.jsonl, line 1"):
        read_jsonl(tmp_path / "x.jsonl")


def test_ordinary_json_is_read_as_ever():
    value = {"a": [1, -2.5, 1e300, None, True, "[[["], "b": {"c": [[[0]]] * 200}, "id": 2**64}
    assert loads(json.dumps(value)) == value == loads(json.dumps(value).encode())


def test_a_servers_reply_is_read_to_a_limit():
    assert capped([b"ab", b"c"], 3) == b"abc"
    with pytest.raises(ValueError, match="more than 3"):
        capped(iter([b"ab", b"cd"]), 3)


@pytest.mark.parametrize("tokens", [10**400, -1, True, 1.5, "7", [], None])
def test_a_servers_counts_are_plain_or_none(tokens):
    from formsafe.generation.dialects import read_reply

    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"completion_tokens": tokens}}
    assert read_reply(body).tokens is None
