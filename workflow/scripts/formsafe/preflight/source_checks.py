"""Whether models and data are on this machine or can be fetched, and whether servers answer or can be started."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from formsafe.config.settings.data import DataSource
from formsafe.config.settings.generation import ServerSettings
from formsafe.config.settings.models import ModelSettings, ModelSource
from formsafe.core.errors import FormsafeError
from formsafe.core.files import loads, matching_files, read_json
from formsafe.core.limits import capped
from formsafe.core.redaction import sends_key_openly
from formsafe.preflight.checks import Check, refused
from formsafe.sources.hub import locked_repository
from formsafe.sources.hub_probe import Access, probe, within
from formsafe.sources.models import model_folder

MODELS, DATA = "Models", "Data"
MOST_BYTES = 4 * 2**20  # of a server's list of models
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
        here = any(Path(path).rglob("*.safetensors"))
        remedy = "Put the model's folder (config.json, *.safetensors, tokenizer.json) there, or name another."
        missing = Check(MODELS, name, "no", f"no model in {path}", remedy)
        return self._local(missing, path, here), Path(path) if here else None, 0

    def _local(self, missing: Check, path: str, here: bool) -> Check:
        """`missing`, or that the path is here or will be."""
        if here:
            return Check(missing.section, missing.name, "ok", path)
        if path.startswith(self.made):
            return Check(missing.section, missing.name, "ok", f"{path} (the workflow makes it)")
        return missing

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
            remedy = "Put the file there, or name another under `path:`."
            missing = Check(DATA, name, "no", f"no file fits {source.path}", remedy)
            return self._local(missing, source.path, bool(matching_files(source.path)))
        if source.hub is None:
            return self._url(name, str(source.url))
        access = probe(locked_repository(self.lock, source.hub)[1], online=self.online)
        return self._judged(DATA, name, source.hub.repo, access)

    def _url(self, name: str, url: str) -> Check:
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


def check_server(name: str, server: ServerSettings, environment: Mapping[str, Any]) -> Check:
    """Ask the server for its list of models, or look for the program that starts it; the key is shown nowhere."""
    key = environment.get(server.key_variable) if server.key_variable is not None else None
    if server.key_variable is not None and not key:
        said = f"the variable {server.key_variable} is empty"
        return Check(MODELS, name, "no", said, "Export the server's key in it.")
    if server.command is not None:
        return _check_program(name, server.command)
    address = str(server.base_url).rstrip("/")
    status, models = _models(address, key)
    if status is None:
        said, remedy = f"{address} does not answer", "Start the server, or check base_url."
    elif status in (401, 403):
        said, remedy = f"{address} refuses the key (status {status})", "Check key_variable and what it holds."
    elif status == 404 and not address.endswith("/v1") and _models(f"{address}/v1", key)[0] == 200:
        said, remedy = f"{address} is not the API, {address}/v1 is", "Add /v1 to base_url."
    elif status != 200:
        said = f"{address}/models answers with status {status}"
        remedy = "Some servers have no list of models: see that base_url includes /v1 and that the model is served."
        return Check(MODELS, name, "unchecked" if status == 404 and address.endswith("/v1") else "no", said, remedy)
    elif models is None:
        said = f"{address} answers, without a list of its models"
        return Check(MODELS, name, "unchecked", said, f"See that it serves {server.model}.")
    elif server.model not in models:
        shown = ", ".join(sorted(models)[:5]) or "none"
        said, remedy = f"{address} does not serve {server.model}", f"It serves: {shown}. Name one under `model`."
    else:
        warning = " (warning: the key goes there unencrypted)" if key and sends_key_openly(address) else ""
        return Check(MODELS, name, "ok", f"{address} serves {server.model}{warning}")
    return Check(MODELS, name, "no", said, remedy)


def _check_program(name: str, command: str) -> Check:
    program = shlex.split(command)[0]
    found = shutil.which(program)
    if found is not None:
        # vLLM does by default
        warning = "" if "--host" in command else " (warning: without --host 127.0.0.1 it may listen to the network)"
        return Check(MODELS, name, "ok", f"each job starts {found}; the answers are those of that program{warning}")
    remedy = "Install it in an environment of its own (envs/vllm.yaml), and write its whole path into `command`."
    return Check(MODELS, name, "no", f"there is no program {program}", remedy)


def check_served_chat(name: str, model: ModelSettings, folder: Path | None, server: ServerSettings) -> Check | None:
    """Whether a server that jobs start, which renders the chat template itself, makes the prompts of the training.

    It has the real clock for today, and lets a model think that can, unless it is told otherwise.
    """
    if folder is None or server.command is None or "--chat-template" in server.command:
        return None
    from formsafe.models.chat import render_prompt
    from formsafe.models.load import load_tokenizer

    question = "How to boil an egg?"
    arguments = server.extra_body.get("chat_template_kwargs") or {}
    tokenizer = load_tokenizer(folder, model)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True, **arguments
    )
    if tokenizer(text, add_special_tokens=False)["input_ids"] == render_prompt(tokenizer, question):
        return Check(MODELS, f"{name} served", "ok", "the server's prompts are those of the training")
    said = "its chat template gives a server other prompts than the training had (date, thinking)"
    remedy = (
        "Under generation.server set extra_body: {chat_template_kwargs: {enable_thinking: false, date_string: ...}} as "
        "the template names them, or name a template without them in `command` (--chat-template)."
    )
    return Check(MODELS, f"{name} served", "no", said, remedy)


def _models(address: str, key: str | None) -> tuple[int | None, set[str] | None]:
    """Status of the list of models, None without an answer, and the names in it, None where it is no such list."""
    answers: list[tuple[int, bytes]] = []

    def ask() -> bool:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        with httpx.stream("GET", f"{address}/models", headers=headers, timeout=3.0) as response:
            answers.append((response.status_code, capped(response.iter_bytes(), MOST_BYTES)))
        return True

    if not within(ask):
        return None, None
    try:
        return answers[0][0], {str(entry["id"]) for entry in loads(answers[0][1])["data"]}
    except (ValueError, LookupError, TypeError):
        return answers[0][0], None
