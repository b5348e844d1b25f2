"""The hub: what is fetched and pinned, and failures that are known at once and say what to do."""

import io
import json

import pytest
import yaml
from huggingface_hub import _tree_cache, constants

from formsafe.config.settings.data import DataSource
from formsafe.config.settings.models import ModelPlace
from formsafe.core.errors import FormsafeError
from formsafe.core.files import file_digest, read_json
from formsafe.sources.hub import Repository
from formsafe.sources.hub_probe import probe
from formsafe.sources.models import fetch_model, model_folder
from formsafe.sources.rows import read_source
from tests.fake_hub import COMMIT

TOKEN = "hf_topSecretTokenOfTheTests"
NEXT = "f" * 40
WEIGHTS = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"",
    "pytorch_model.bin": b"a pickle",
    "original/consolidated.safetensors": b"other weights",
    "consolidated.safetensors": b"the same weights in another shape (Mistral)",
    "README.md": b"text",
}


def model(folder, repo="owner/name", revision="main"):
    place = ModelPlace(hub={"repo": repo, "revision": revision})
    return fetch_model("m", place, folder / "lock.yaml", folder / "m.json")


def test_a_cache_that_moved_changes_no_manifest_and_is_found(hub, tmp_path, monkeypatch):
    hub.add("models/owner/name", WEIGHTS)
    manifest, moved = model(tmp_path), tmp_path / "elsewhere"
    assert str(tmp_path) not in json.dumps(manifest)
    model_folder(manifest).parents[2].rename(moved)
    with pytest.raises(FormsafeError, match=f"owner/name at commit {COMMIT} is not in the hub's cache.*HF_HOME"):
        model_folder(manifest)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(moved))
    assert (model_folder(manifest) / "config.json").is_file() and model(tmp_path) == manifest


def lock_of(folder):
    return yaml.safe_load((folder / "lock.yaml").read_text())["sources"]


def test_a_model_is_fetched_as_safetensors_only_and_pinned(hub, tmp_path):
    hub.add("models/owner/name", WEIGHTS)
    manifest = model(tmp_path)
    assert manifest == read_json(tmp_path / "m.json")
    assert set(manifest["files"]) == {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert (manifest["repo"], manifest["revision"]) == ("owner/name", COMMIT)
    assert model_folder(manifest).parts[-2:] == ("snapshots", COMMIT)
    assert lock_of(tmp_path) == {"model owner/name@main": {"commit": COMMIT}}
    assert not any("pytorch_model" in request or "consolidated" in request for request in hub.requests)


def test_the_locked_commit_is_taken_though_the_branch_moved_on(hub, tmp_path):
    hub.add("models/owner/name", WEIGHTS)
    model(tmp_path)
    hub.add("models/owner/name", WEIGHTS | {"model.safetensors": b"other"}, commit=NEXT)
    asked = len(hub.requests)
    assert model(tmp_path)["revision"] == COMMIT
    assert len(hub.requests) == asked  # all of it was in the cache
    (tmp_path / "lock.yaml").unlink()
    assert model(tmp_path)["revision"] == NEXT


def test_a_locked_commit_that_is_gone_says_how_to_accept_the_new_one(hub, tmp_path):
    (tmp_path / "lock.yaml").write_text(yaml.safe_dump({"sources": {"model owner/name@main": {"commit": COMMIT}}}))
    hub.add("models/owner/name", WEIGHTS, commit=NEXT)
    with pytest.raises(FormsafeError, match=rf"Commit {COMMIT} of owner/name.* is gone.*delete its entry"):
        model(tmp_path)


FAILURES = {
    "gated, no token": ((401, "GatedRepo", True), None, ["is gated (No token", "Accept its terms at", "HF_TOKEN"]),
    "gated, no access": ((403, "GatedRepo", True), TOKEN, ["A token was sent, but it gives no access", "HF_TOKEN"]),
    "gated page": ((403, "GatedRepo"), TOKEN, ["is gated", "Accept its terms at"]),
    "forbidden": ((403, None), TOKEN, ["refuses access with status 403", "HF_TOKEN"]),
    "missing": ((404, "RepoNotFound"), TOKEN, ["does not exist, or is private"]),
    "missing, no token": ((401, "RepoNotFound"), None, ["does not exist, or is private (No token was", "HF_TOKEN"]),
    "hub in trouble": ((503, None), None, ["not in the cache", "cannot be reached", "`path:`"]),
}


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("case", FAILURES)
def test_failures_say_at_once_what_to_do(hub, tmp_path, monkeypatch, capfd, case, kind):
    refusal, token, expected = FAILURES[case]
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.add(f"{kind}s/owner/name", WEIGHTS | {"data/train.csv": b"a\n1\n"})
    hub.refuse(f"{kind}s/owner/name", *refusal)
    with pytest.raises(FormsafeError) as failure:
        if kind == "model":
            model(tmp_path)
        else:
            read_source(DataSource(hub={"repo": "owner/name"}), tmp_path / "lock.yaml")
    message = str(failure.value)
    assert all(part in message for part in expected), message
    assert len(hub.requests) <= 12  # one page, one listing, and no file twice
    assert f"Bearer {TOKEN}" in hub.tokens or not token
    printed = capfd.readouterr()
    assert TOKEN not in message + printed.out + printed.err
    assert not (tmp_path / "m.json").exists() and not (tmp_path / "lock.yaml").exists()


def test_a_revision_that_does_not_exist(hub, tmp_path):
    hub.add("models/owner/name", WEIGHTS)
    with pytest.raises(FormsafeError, match="owner/name has no revision v2"):
        model(tmp_path, revision="v2")


def test_no_network_is_known_at_once(no_network, tmp_path):
    with pytest.raises(
        FormsafeError, match=r"the hub cannot be reached.*targets `models` and `data`.*HF_HOME.*`path:`"
    ):
        model(tmp_path)


@pytest.mark.parametrize("locked", [True, False])
def test_without_network_the_cache_is_enough(hub, tmp_path, monkeypatch, request, locked):
    hub.add("models/owner/name", WEIGHTS)
    online = model(tmp_path)
    if not locked:
        (tmp_path / "lock.yaml").unlink()
    request.getfixturevalue("no_network")
    assert model(tmp_path) == online


def test_offline_mode_asks_nobody(hub, environment, tmp_path, monkeypatch):
    hub.add("models/owner/name", WEIGHTS)
    monkeypatch.setattr(environment, "HF_HUB_OFFLINE", True)
    with pytest.raises(FormsafeError, match="cannot be reached"):
        model(tmp_path)
    assert hub.requests == []


def test_an_interrupted_download_is_not_taken_for_a_whole_one(hub, environment, tmp_path, monkeypatch):
    hub.add("models/owner/name", WEIGHTS)
    model(tmp_path)
    next((tmp_path / "cache").rglob(f"snapshots/{COMMIT}/tokenizer.json")).unlink()
    monkeypatch.setattr(environment, "HF_HUB_OFFLINE", True)
    with pytest.raises(FormsafeError, match="not in the cache"):
        model(tmp_path)


def cache_files(kind, repo, *files):
    """Leave in the cache what `from_pretrained` or `load_dataset` leaves there: single files, no list of all."""
    from huggingface_hub import hf_hub_download

    for file in files:
        hf_hub_download(repo, file, repo_type=kind)


@pytest.mark.parametrize("pinned", [True, False])
def test_what_a_library_left_in_the_cache_is_completed(hub, tmp_path, pinned):
    hub.add("models/owner/name", WEIGHTS)
    cache_files("model", "owner/name", "config.json", "tokenizer.json")
    look = Repository("owner/name", "model", COMMIT)
    assert probe(look, online=True).state == "reachable" and probe(look, online=False).state == "cached"
    lock = {"sources": {} if pinned else {"model owner/name@main": {"commit": COMMIT}}}
    (tmp_path / "lock.yaml").write_text(yaml.safe_dump(lock))
    assert "model.safetensors" in model(tmp_path, revision=COMMIT if pinned else "main")["files"]
    assert probe(look, online=True).state == "cached"


def test_without_network_a_whole_model_that_a_library_left_is_enough(hub, tmp_path, request):
    hub.add("models/owner/name", WEIGHTS)
    cache_files("model", "owner/name", "config.json", "tokenizer.json", "model.safetensors")
    request.getfixturevalue("no_network")
    assert set(model(tmp_path)["files"]) == {"config.json", "tokenizer.json", "model.safetensors"}


@pytest.mark.parametrize(
    "files, missing",
    [
        ({"config.json": b"{}", "pytorch_model.bin": b""}, "pickles"),
        ({"model.safetensors": b"", "tokenizer.json": b""}, "config.json"),
        (
            {
                "config.json": b"{}",
                "a-1.safetensors": b"",
                "model.safetensors.index.json": b'{"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors"}}',
            },
            "a-2.safetensors",
        ),
    ],
)
def test_a_model_must_be_whole(hub, tmp_path, files, missing):
    hub.add("models/owner/name", files)
    with pytest.raises(FormsafeError, match=f"owner/name lacks .*{missing}"):
        model(tmp_path)
    assert not (tmp_path / "lock.yaml").exists()


def test_local_models_and_encoders_have_manifests_too(tmp_path, tiny_model):
    manifest = fetch_model("tiny", ModelPlace(path=str(tiny_model)), tmp_path / "lock.yaml", tmp_path / "m.json")
    assert (manifest["path"], manifest["repo"], manifest["revision"]) == (str(tiny_model), None, None)
    assert manifest["files"]["model.safetensors"] == (tiny_model / "model.safetensors").stat().st_size
    assert manifest["digests"]["model.safetensors"] == file_digest(tiny_model / "model.safetensors")
    assert {"config.json", "tokenizer.json", "chat_template.jinja"} <= manifest["digests"].keys()
    assert manifest["modified"] == {}
    with pytest.raises(FormsafeError, match=r"lacks modules\.json"):
        place = ModelPlace(path=str(tiny_model))
        fetch_model("encoder", place, tmp_path / "lock.yaml", tmp_path / "e.json", "modules.json")
    assert not (tmp_path / "lock.yaml").exists()


def parquet(rows):
    import pyarrow
    from pyarrow import parquet as files

    out = io.BytesIO()
    files.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


CARD = b"""---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*.parquet}
  - {split: test, path: data/test-*.parquet}
- config_name: other
  data_files: extra/*.parquet
---
"""
DATASET = {
    "README.md": CARD,
    "data/train-00000-of-00002.parquet": parquet([{"title": f"How to {n}", "n": n} for n in range(3)]),
    "data/train-00001-of-00002.parquet": parquet([{"title": f"How to {n}", "n": n} for n in range(3, 5)]),
    "data/test-00000-of-00001.parquet": parquet([{"title": "How to test", "n": 9}]),
    "extra/a.parquet": parquet([{"title": "extra"}]),
    "loader.py": b"raise SystemExit('code of a data set is never run')",
}


def rows_of(folder, **hub):
    source = read_source(DataSource(hub={"repo": "owner/data", **hub}), folder / "lock.yaml")
    source.settle(folder / "lock.yaml")
    return source.rows, source.describe()


def test_a_data_set_in_the_layout_of_the_hub(hub, tmp_path):
    hub.add("datasets/owner/data", DATASET)
    rows, source = rows_of(tmp_path, split="train+test")
    assert [row["n"] for row in rows] == [0, 1, 2, 3, 4, 9]
    entry = {"commit": COMMIT, "rows": 6, "digest": source["digest"]}
    assert lock_of(tmp_path) == {"dataset owner/data@main default/train+test": entry}
    assert rows_of(tmp_path, config="other")[0] == [{"title": "extra"}]
    assert not any("loader.py" in request for request in hub.requests)


def test_a_cached_data_set_needs_no_network(hub, tmp_path, request):
    hub.add("datasets/owner/data", DATASET)
    online, _ = rows_of(tmp_path)
    request.getfixturevalue("no_network")
    assert rows_of(tmp_path)[0] == online


@pytest.mark.parametrize("revision", [COMMIT, "main"])
def test_a_data_set_of_which_files_are_missing_is_never_locked(hub, tmp_path, monkeypatch, revision):
    hub.add("datasets/owner/data", DATASET)
    cache_files("dataset", "owner/data", "README.md", "data/train-00000-of-00002.parquet")
    look = Repository("owner/data", "dataset", revision)
    assert probe(look, online=False).state == "obstacle"
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(FormsafeError, match="not in the cache as a whole"):
            rows_of(tmp_path, revision=revision)
    assert len(rows_of(tmp_path, revision=revision)[0]) == 5


def test_files_that_cannot_be_listed_are_no_whole_data_set(hub, tmp_path, monkeypatch):
    hub.add("datasets/owner/data", DATASET)
    cache_files("dataset", "owner/data", "README.md", "data/train-00000-of-00002.parquet")
    answer = hub.answer
    monkeypatch.setattr(hub, "answer", lambda path: (501, {}, b"") if "/tree/" in path else answer(path))
    with pytest.raises(FormsafeError, match="not in the cache as a whole"):
        rows_of(tmp_path, revision=COMMIT)
    assert not (tmp_path / "lock.yaml").exists()


def test_without_network_the_rows_of_a_locked_data_set_tell_whether_it_is_whole(hub, tmp_path, request):
    hub.add("datasets/owner/data", DATASET)
    online, _ = rows_of(tmp_path)
    for listing in (tmp_path / "cache").rglob("trees/*.json"):
        listing.unlink()
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    request.getfixturevalue("no_network")
    assert rows_of(tmp_path)[0] == online
    next((tmp_path / "cache").rglob("snapshots/*/data/train-00001*")).unlink()
    with pytest.raises(FormsafeError, match="rows 5 -> 3"):
        rows_of(tmp_path)


def test_a_missing_split_is_named(hub, tmp_path):
    hub.add("datasets/owner/data", DATASET)
    with pytest.raises(FormsafeError, match="split validation"):
        rows_of(tmp_path, split="train+validation")


@pytest.mark.parametrize(
    "files, message",
    [
        ({"data/train.csv": b"goal,n\nsecret,b\nc,secret,e\n"}, "train.csv, row 1: 3 fields"),
        ({"README.md": b"", "x.py": b""}, r"owner/data cannot be read as .* default, split train \(\w+Error;"),
    ],
)
def test_files_that_cannot_be_read_are_named_without_their_text(hub, tmp_path, files, message):
    hub.add("datasets/owner/data", files)
    with pytest.raises(FormsafeError, match=message) as failure:
        rows_of(tmp_path)
    assert "secret" not in str(failure.value)


def test_errors_without_a_message_are_named_too(hub, tmp_path, monkeypatch):
    hub.add("datasets/owner/data", DATASET)

    def fail(*arguments, **options):
        raise ValueError

    monkeypatch.setattr("datasets.load_dataset_builder", fail)
    with pytest.raises(FormsafeError, match=r"split train \(ValueError;"):
        rows_of(tmp_path)


def test_changed_content_says_what_changed_and_how_to_accept_it(hub, tmp_path, monkeypatch):
    hub.add("plain/rows.csv", None)
    hub.files["plain/rows.csv", None] = b"a,b\n1,2\n3,4\n"
    monkeypatch.setenv("MY_PASSWORD", "secret")
    url = hub.address.replace("//", "//user:$MY_PASSWORD@") + "/plain/rows.csv?key=$MY_PASSWORD"

    def fetch():
        source = read_source(DataSource(url=url), tmp_path / "lock.yaml")
        source.settle(tmp_path / "lock.yaml")
        return source.rows

    assert fetch() == fetch() == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    hub.files["plain/rows.csv", None] = b"a,b\n1,2\n"
    with pytest.raises(FormsafeError, match=r"has changed.*: rows 2 -> 1; digest .* -> .*delete the entry") as failure:
        fetch()
    assert "secret" not in str(failure.value) + (tmp_path / "lock.yaml").read_text()
    (tmp_path / "lock.yaml").write_text("sources: {}\n")
    assert fetch() == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_url_that_fails_says_so_at_once(hub, tmp_path, monkeypatch, status):
    hub.files["plain/rows.csv", None] = status
    monkeypatch.setenv("MY_PASSWORD", "secret")
    source = DataSource(url=f"{hub.address}/plain/rows.csv?key=$MY_PASSWORD")
    with pytest.raises(FormsafeError, match=f"rows.csv answers with status {status}.*`path:`") as failure:
        read_source(source, tmp_path / "lock.yaml")
    assert "secret" not in str(failure.value) and len(hub.requests) == 1


def test_a_url_whose_variable_is_not_set_says_so(hub, tmp_path):
    source = DataSource(url=f"{hub.address}/plain/rows.csv?key=$NO_SUCH_KEY")
    with pytest.raises(FormsafeError, match="needs the variable NO_SUCH_KEY, which is not set"):
        read_source(source, tmp_path / "lock.yaml")


def test_a_url_without_network(no_network, tmp_path):
    source = DataSource(url=f"{no_network}/rows.csv")
    with pytest.raises(FormsafeError, match=r"cannot be fetched \(ConnectError\).*`data`.*`path:`"):
        read_source(source, tmp_path / "lock.yaml")
