"""Whether models, data and prompts are at hand or can be had, and whether the models can be instructed."""

from collections.abc import Sequence
from pathlib import Path

from formsafe.config.settings.data import DataSource
from formsafe.config.settings.models import ModelSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import matching_files
from formsafe.core.judge_prompt import check_template
from formsafe.preflight.checks import Check
from formsafe.sources.hub import locked_repository
from formsafe.sources.hub_probe import Access, probe, within

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
        self.online, self.lock = online, lock
        self.made = tuple(made)
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

    def data(self, name: str, source: DataSource, fetched: str | Path) -> Check:
        """Look for a data set; `fetched` is where its rows lie once they were fetched."""
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

        from formsafe.sources.rows import without_secrets

        shown, statuses = without_secrets(url), []

        def ask() -> bool:
            with httpx.stream("GET", url, follow_redirects=True, timeout=3.0) as response:
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
        said, _, remedy = access.obstacle.partition(". ")
        return Check(section, name, "no", said, remedy)

    def network(self) -> list[Check]:
        """One line with the ways to work offline, where anything was out of reach."""
        if not self.out_of_reach:
            return []
        detail = f"{self.out_of_reach} sources are not here and cannot be reached"
        return [Check(MODELS, "network", "no", detail, OFFLINE)]

    def token(self) -> Check:
        """Whether there is a token for the hub; it is shown nowhere."""
        from huggingface_hub import get_token

        if get_token():
            return Check(MODELS, "token", "ok", "present (not shown)")
        if self.refused:
            remedy = "Put a token with read access into the variable HF_TOKEN, or run `hf auth login`."
            return Check(MODELS, "token", "no", "none, and a source above refuses access without one", remedy)
        return Check(MODELS, "token", "ok", "none, and nothing above asks for one")


def check_chat(name: str, folder: Path | None, systems: Sequence[str | None]) -> Check:
    """Render a prompt and an exchange with the model's own template, with each system prompt the methods use."""
    label = f"{name} chat"
    if folder is None:
        return Check(
            MODELS, label, "unchecked", "its tokenizer is not here yet", "Run the target `models`, then again."
        )
    try:
        from formsafe.models.chat import render_exchange
        from formsafe.models.load import load_tokenizer

        tokenizer = load_tokenizer(folder)
        for system in systems:
            length = render_exchange(tokenizer, "How to boil an egg?", "Boil it.", system).prompt_length
    except FormsafeError as error:
        said, _, remedy = str(error).partition(". ")
        return Check(MODELS, label, "no", said, remedy)
    except Exception as error:  # what a template or a broken tokenizer file raises
        remedy = "Fetch the model again, or mend its chat template."
        return Check(MODELS, label, "no", f"the chat template fails ({type(error).__name__})", remedy)
    return Check(MODELS, label, "ok", f"the template renders; a question of five words takes {length} tokens")


def check_judge_prompt(path: str | Path) -> Check:
    """Whether the judge's prompt is there and has its placeholders."""
    try:
        check_template(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, FormsafeError) as error:
        said = str(error) if isinstance(error, FormsafeError) else f"{path} cannot be read ({type(error).__name__})"
        remedy = "judges.*.prompt names a text file with {instruction} and {answer}, each once."
        return Check(DATA, "judge prompt", "no", said, remedy)
    return Check(DATA, "judge prompt", "ok", str(path))
