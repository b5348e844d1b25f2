"""Whole files or no files, and nothing beside them; what is written, with which mode, and what is read of strangers."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.core.files import (
    create,
    is_below,
    loads,
    matching_files,
    open_lock,
    private_mode,
    read_json,
    read_jsonl,
    refuse_links,
    refuse_links_below,
    replacing,
    write_json,
    write_jsonl,
    write_text,
)


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


def test_json_is_indented_and_holds_letters_as_they_are(tmp_path: Path):
    write_json(tmp_path / "new" / "folder" / "a.json", {"tea": ["thé", 1]})
    assert (tmp_path / "new/folder/a.json").read_text("utf-8") == '{\n  "tea": [\n    "thé",\n    1\n  ]\n}\n'


def test_records_are_written_one_a_line_and_counted(tmp_path: Path):
    assert write_jsonl(tmp_path / "a.jsonl", [{"tea": "thé"}, {"tea": None}]) == 2
    assert (tmp_path / "a.jsonl").read_text("utf-8") == '{"tea": "thé"}\n{"tea": null}\n'
    assert read_jsonl(tmp_path / "a.jsonl") == [{"tea": "thé"}, {"tea": None}]
    assert write_jsonl(tmp_path / "b.jsonl", []) == 0 and (tmp_path / "b.jsonl").read_text() == ""


def test_what_is_no_number_is_not_written(tmp_path: Path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"score": float("nan")})
    with pytest.raises(ValueError):
        write_jsonl(tmp_path / "a.jsonl", [{"score": 1}, {"score": float("inf")}])
    assert list(tmp_path.iterdir()) == []


def _replace(path: Path, **private: bool) -> None:
    with replacing(path, **private) as temporary:
        temporary.write_text("x")


WRITERS = {
    "replacing": _replace,
    "create": lambda path, **private: os.close(create(path, **private)),
    "write_text": lambda path, **private: write_text(path, "x", **private),
    "write_jsonl": lambda path, **private: write_jsonl(path, [], **private),
}


@pytest.fixture
def all_modes(monkeypatch):
    """A umask that takes nothing away, so that files have just the mode that they were made with."""
    monkeypatch.delenv("FORMSAFE_RESULTS_MODE", raising=False)
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("writer", WRITERS)
def test_files_are_for_all_unless_they_are_private(tmp_path: Path, all_modes, writer: str):
    WRITERS[writer](tmp_path / "open")
    WRITERS[writer](tmp_path / "private", private=True)
    modes = [(tmp_path / name).stat().st_mode & 0o7777 for name in ("open", "private")]
    assert modes == [0o666, 0o600]


def test_private_files_are_the_groups_where_the_study_says_so(all_modes, monkeypatch):
    assert private_mode() == 0o600
    for named, mode in (("private", 0o600), ("group", 0o666)):
        monkeypatch.setenv("FORMSAFE_RESULTS_MODE", named)
        assert private_mode() == mode


def test_a_lock_file_can_be_locked_by_all(tmp_path: Path, all_modes):
    os.close(open_lock(tmp_path / "lock"))
    assert (tmp_path / "lock").stat().st_mode & 0o7777 == 0o666


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch) -> Path:
    """The working directory, and a folder beside it to which links can lead."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "other" / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("link", ["results/demo", "results/demo/runs", "results/demo/runs/a/scores.csv"])
def test_a_link_anywhere_between_results_and_a_file_is_refused(checkout: Path, link: str, absolute: bool):
    Path(link).parent.mkdir(parents=True, exist_ok=True)
    Path(link).symlink_to(checkout.parent / "other")
    path = Path("results/demo/runs/a/scores.csv")
    with pytest.raises(FormsafeError, match=f"^{link} is a symbolic link"):
        refuse_links(checkout / path if absolute else path)
    with pytest.raises(FormsafeError, match=f"^{link} is a symbolic link"):
        refuse_links_below("results/demo")


@pytest.mark.parametrize(
    "link, refused", [("disk/runs/a.csv", True), ("disk/runs", True), ("disk", False), ("disk/runs/other", False)]
)
def test_outside_the_working_directory_a_file_and_its_folder_are_looked_at(checkout: Path, link: str, refused: bool):
    """Further up is the disk's own business: `/home` itself may be a link."""
    outside = checkout.parent
    (outside / link).parent.mkdir(parents=True, exist_ok=True)
    (outside / link).symlink_to(outside / "other")
    if refused:
        with pytest.raises(FormsafeError, match=f"{link} is a symbolic link"):
            refuse_links(outside / "disk/runs/a.csv")
    else:
        refuse_links(outside / "disk/runs/a.csv")


def test_a_file_in_the_working_directory_is_no_link_either(checkout: Path):
    Path("a.csv").symlink_to(checkout.parent / "other")
    with pytest.raises(FormsafeError, match=r"^a\.csv is a symbolic link"):
        refuse_links("a.csv")


@pytest.mark.parametrize("linked", [True, False])
def test_a_folder_of_results_without_links_in_it_is_used_though_it_may_be_one(checkout: Path, linked: bool):
    if linked:
        Path("results").symlink_to(checkout.parent / "other")
    write_text("results/demo/runs/a/scores.csv", "x")
    refuse_links("results/demo/runs/a/scores.csv")
    refuse_links_below("results/demo")


@pytest.mark.parametrize(
    "path, below",
    [("demo/a", True), ("demo/a/b.csv", True), ("demo", False), ("demo/..", False), ("demo/../x", False), ("x", False)],
)
def test_what_is_below_a_folder(tmp_path: Path, path: str, below: bool):
    assert is_below(tmp_path / path, tmp_path / "demo") is below


def test_files_are_found_by_name_or_by_pattern_at_any_depth(tmp_path: Path):
    names = ["a1.csv", "a[1].csv", "runs/a/b/a1.csv"]
    for name in names:
        write_text(tmp_path / name, "")
    for pattern, found in {
        "a[1].csv": ["a[1].csv"],
        "a[1-9].csv": ["a1.csv"],
        "**/a1.csv": [names[0], names[2]],
    }.items():
        assert matching_files(tmp_path / pattern) == [str(tmp_path / name) for name in found]
    assert matching_files(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    "line, message",
    [
        ("7", "line 2: expected one JSON object per line"),
        ("no JSON", "line 2: expected one JSON object per line"),
        ('{"id": "b"}', "line 2: no valid score, note"),
        ('{"id": 7, "score": null, "note": "x"}', "line 2: no valid id"),
        ('{"id": "b", "score": "1", "note": null}', "line 2: no valid score, note"),
    ],
)
def test_records_must_have_the_named_fields(tmp_path: Path, line: str, message: str):
    first = {"id": "a", "score": None, "note": "x"}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(first)}\n{line}\n")
    with pytest.raises(FormsafeError, match=rf"a\.jsonl, {message}"):
        read_jsonl(tmp_path / "a.jsonl", id=str, score=int | None, note=str)


MANY = 150
ALLOWED = {
    "arrays": "[" * 100 + "1" + "]" * 100,
    "objects": '{"a": ' * 100 + "1" + "}" * 100,
    "arrays beside a bracket in a text": '["[", ' + "[" * 99 + "1" + "]" * 100,
    "many arrays": f"[{', '.join(['[]'] * MANY)}]",
    "many objects": f"[{', '.join(['{}'] * MANY)}]",
    "digits": "1" * 300,
    "fraction": "1.5e3",
}
REFUSED = {
    "nested more than 100 deep": [
        "[" * 101 + "]" * 101,
        '{"a": ' * 101 + "1" + "}" * 101,
        '[{"a": ' * 51 + "1" + "}]" * 51,
    ],
    "a number too large": ["1" * 301, "1e999", "-1e999"],
    "NaN is not a number": ["NaN"],
    "not JSON: Expecting value, character 1": ["[", "[x]"],
}


@pytest.mark.parametrize("text", ALLOWED.values(), ids=ALLOWED)
def test_plain_json_of_sane_size_is_read_from_text_and_bytes(text: str):
    assert loads(text) == loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize("reason, text", [(reason, text) for reason, texts in REFUSED.items() for text in texts])
def test_other_json_of_strangers_is_refused_with_the_reason(tmp_path: Path, reason: str, text: str):
    with pytest.raises(ValueError, match=reason):
        loads(text)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FormsafeError, match=rf"a\.json is not valid JSON \(.*{reason}"):
        read_json(tmp_path / "a.json")
