"""Whether models and data are on this machine or can be fetched."""

from collections.abc import Sequence
from pathlib import Path

from formsafe.config.settings.data import DataSource
from formsafe.config.settings.models import ModelSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import matching_files, read_json
from formsafe.preflight.checks import Check, refused
from formsafe.sources.hub import locked_repository
from formsafe.sources.hub_probe import Access, probe, within
from formsafe.sources.models import model_folder

MODELS, DATA = "Models", "Data"
OFFLINE = (
    "Run the targets `models` and `data` on a machine with network that shares the cache of the hub (HF_HOME), or name "
    "copies on disk under `path:` (with `hub: null`)."
)


class Sources:
    """Looks at all sources with one idea of the network.

    Args:
        online: whether the hub answers.
        lock: the lock of sources.
        made: folders that the workflow fills by itself: what is missing there is no fault.
    """

    def __init__(self, online: bool, lock: str | Path, made: Sequence[str] = ()) -> None:
        self.online, self.lock, self.made = online, lock, tuple(made)
        self.refused, self.out_of_reach = 0, 0

    def model(self, name: str, source: ModelSource | None, path: str | None) -> tuple[Check, Path | None, int | None]:
        """Look for a model; return the check, its folder if it is here, and the bytes to fetch (None: not known)."""
        if source is None:
            return self._local_model(name, str(path))
        access = probe(locked_repository(self.lock, source)[1], online=self.online)
        return self._judged(MODELS, name, source.repo, access), access.folder, access.bytes

    def _local_model(self, name: str, path: str) -> tuple[Check, Path | None, int | None]:
        if list(Path(path).glob("*.safetensors")):
            return Check(MODELS, name, "ok", path), Path(path), 0
        if path.startswith(self.made):
            return Check(MODELS, name, "ok", f"{path} (the workflow makes it)"), None, 0
        remedy = "Put the model's folder (config.json, *.safetensors, tokenizer.json) there, or name another."
        return Check(MODELS, name, "no", f"no model in {path}", remedy), None, 0

    def fetched_model(self, name: str, manifest: str | Path) -> Check | None:
        """Look for the folder that the target `models` wrote down: another HF_HOME, or a cache that was emptied."""
        record = read_json(manifest) if Path(manifest).is_file() else None
        if record is None or (record["path"] or "").startswith(self.made):
            return None
        try:
            folder = model_folder(record)
        except FormsafeError as error:
            return refused(MODELS, name, error)
        if folder.is_dir():
            return None
        return Check(MODELS, name, "no", f"it was in {folder}, which is gone", "Put it back, or name another folder.")

    def data(self, name: str, source: DataSource, fetched: str | Path) -> Check:
        """Look for a data set; `fetched` is where its rows are once they were fetched."""
        if Path(fetched).exists():
            return Check(DATA, name, "ok", f"already in {fetched}")
        if source.path is not None:
            return self._local_data(name, source.path)
        if source.hub is None:
            return self._url(name, str(source.url))
        access = probe(locked_repository(self.lock, source.hub)[1], online=self.online)
        return self._judged(DATA, name, source.hub.repo, access)

    def _local_data(self, name: str, path: str) -> Check:
        if matching_files(path):
            return Check(DATA, name, "ok", path)
        if path.startswith(self.made):
            return Check(DATA, name, "ok", f"{path} (the workflow makes it)")
        return Check(DATA, name, "no", f"no file fits {path}", "Put the file there, or name another under `path:`.")

    def _url(self, name: str, url: str) -> Check:
        import httpx

        from formsafe.sources.rows import with_variables, without_secrets

        shown, statuses = without_secrets(url), []
        try:
            address = with_variables(url)
        except FormsafeError as error:
            return refused(DATA, name, error)

        def ask() -> bool:
            with httpx.stream("GET", address, follow_redirects=True, timeout=3.0) as response:
                statuses.append(response.status_code)
            return True

        if within(ask) and statuses[0] < 400:
            return Check(DATA, name, "ok", f"{shown} can be reached")
        if statuses:
            return Check(DATA, name, "no", f"{shown} answers with status {statuses[0]}", "Check the address.")
        self.out_of_reach += 1
        remedy = "Fetch it where there is network, and name the copy under `path:` (with `url: null`)."
        return Check(DATA, name, "no", f"{shown} cannot be reached", remedy)

    def _judged(self, section: str, name: str, repo: str, access: Access) -> Check:
        if access.state == "cached":
            return Check(section, name, "ok", f"{repo}, in the cache")
        if access.state == "reachable":
            size = "" if access.bytes is None else f", {access.bytes / 1e9:.2f} GB to fetch"
            return Check(section, name, "ok", f"{repo} can be fetched{size}")
        if access.outage:
            self.out_of_reach += 1
            return Check(section, name, "no", f"{repo} is not in the cache as a whole", "See `network`.")
        self.refused += 1
        return refused(section, name, access.obstacle)

    def network(self) -> list[Check]:
        """One line with the ways to work offline, where anything was out of reach."""
        if not self.out_of_reach:
            return []
        detail = f"{self.out_of_reach} sources are not here and cannot be reached"
        return [Check(MODELS, "network", "unchecked", detail, OFFLINE)]  # each of them has a NO of its own

    def token(self) -> Check:
        """Whether there is a token for the hub; it is shown nowhere."""
        from huggingface_hub import get_token

        if get_token():
            return Check(MODELS, "token", "ok", "present (not shown)")
        if self.refused:
            remedy = "Put a token with read access into the variable HF_TOKEN, or run `hf auth login`."
            return Check(MODELS, "token", "no", "none, and a source above refuses access without one", remedy)
        return Check(MODELS, "token", "ok", "none, and nothing above asks for one")
