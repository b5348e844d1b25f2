"""Whether an OpenAI-compatible server answers at its address, takes the key and knows the model, or can be started."""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from formsafe.config.settings.generation import ServerSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.files import loads
from formsafe.core.limits import capped
from formsafe.core.redaction import sends_key_openly
from formsafe.preflight.checks import Check
from formsafe.sources.hub_probe import within

SECTION = "Models"
MOST_BYTES = 4 * 2**20  # of a list of models


def check_server(name: str, server: ServerSettings, environment: Mapping[str, Any]) -> Check:
    """Ask the server for its list of models, or look for the program that starts it; the key is shown nowhere."""
    key = environment.get(server.key_variable) if server.key_variable is not None else None
    if server.key_variable is not None and not key:
        said = f"the variable {server.key_variable} is empty"
        return Check(SECTION, name, "no", said, "Export the server's key in it.")
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
        return Check(SECTION, name, "unchecked" if status == 404 and address.endswith("/v1") else "no", said, remedy)
    elif models is None:
        said = f"{address} answers, without a list of its models"
        return Check(SECTION, name, "unchecked", said, f"See that it serves {server.model}.")
    elif server.model not in models:
        shown = ", ".join(sorted(models)[:5]) or "none"
        said, remedy = f"{address} does not serve {server.model}", f"It serves: {shown}. Name one under `model`."
    else:
        warning = " (warning: the key goes there unencrypted)" if key and sends_key_openly(address) else ""
        return Check(SECTION, name, "ok", f"{address} serves {server.model}{warning}")
    return Check(SECTION, name, "no", said, remedy)


def _check_program(name: str, command: str) -> Check:
    program = shlex.split(command)[0]
    found = shutil.which(program)
    if found is not None:
        # vLLM does by default
        warning = "" if "--host" in command else " (warning: without --host 127.0.0.1 it may listen to the network)"
        return Check(SECTION, name, "ok", f"each job starts {found}; the answers are those of that program{warning}")
    remedy = "Install it in an environment of its own (envs/vllm.yaml), and write its whole path into `command`."
    return Check(SECTION, name, "no", f"there is no program {program}", remedy)


def check_served_chat(name: str, model: ModelSettings, folder: Path | None, server: ServerSettings) -> Check | None:
    """Whether a server that jobs start, which renders the chat template itself, makes the prompts of the training.

    It has the real clock for today, and lets a model think that can, unless it is told otherwise.
    """
    if folder is None or server.command is None or "--chat-template" in server.command:
        return None
    from formsafe.models.chat import render_prompt
    from formsafe.models.load import load_tokenizer

    question = "How to boil an egg?"
    arguments = server.extra_body.get("chat_template_kwargs", {})
    tokenizer = load_tokenizer(folder, model)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True, **arguments
    )
    if tokenizer(text, add_special_tokens=False)["input_ids"] == render_prompt(tokenizer, question):
        return Check(SECTION, f"{name} served", "ok", "the server's prompts are those of the training")
    said = "its chat template gives a server other prompts than the training had (date, thinking)"
    remedy = (
        "Under generation.server set extra_body: {chat_template_kwargs: {enable_thinking: false, date_string: ...}} as "
        "the template names them, or name a template without them in `command` (--chat-template)."
    )
    return Check(SECTION, f"{name} served", "no", said, remedy)


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
