"""Answers of a server that the job itself starts, for its own model and adapter, and ends."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

import httpx2
import psutil

from formsafe.config.settings.generation import Decoding, ServerSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import loads
from formsafe.core.redaction import redact
from formsafe.core.texts import one_line, overlapping
from formsafe.generation import supervisor
from formsafe.generation.journal import Journal
from formsafe.generation.replies import Prompt, Reply
from formsafe.generation.request_pace import Transient
from formsafe.generation.server import ServerEngine
from formsafe.generation.server_client import key_of
from formsafe.models.devices import VARIABLE, installed_cards

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL
FIRST_LINES, LAST_LINES, LONGEST_LINE = 200, 100, 500  # of what a server says, in the job's log
SHARED_LETTERS = 16  # a line of the server's that has so many in a row with a prompt or reply may repeat it


def fill_command(settings: ServerSettings, model: str, adapter: str | None, port: int) -> tuple[list[str], str]:
    """The words of the settings' command with its placeholders filled, and the model's name in requests.

    With an adapter that is the name before `={adapter}` (`run={adapter}`). Without one, each word with `{adapter}` is
    left out, and the option before it: of `--lora-modules run={adapter}` nothing is left. A word is filled after the
    command was cut into words, so that a path may hold blanks.
    """
    words: list[str] = []
    name = settings.model or model
    for word in shlex.split(settings.command or ""):
        option = word.startswith("-")
        if "{adapter}" in word and adapter is None:
            if words and words[-1].startswith("-") and not option:
                words.pop()
            continue
        if "{adapter}" in word:
            before = word.partition("={adapter}")[0]
            name = str(adapter) if option or before == word else before
        words.append(word.replace("{model}", model).replace("{adapter}", adapter or "").replace("{port}", str(port)))
    return words, name


class ServedEngine(ServerEngine):
    """A server on this machine's loopback interface, started at the first prompt and ended by `close`.

    Args:
        settings: with a `command`.
        model: folder of the model.
        adapter: folder of an adapter.
    """

    def __init__(self, settings: ServerSettings, model: str, adapter: str | None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        # folders as seen from anywhere: a server may change its own
        model, adapter = os.path.abspath(model), adapter and os.path.abspath(adapter)
        self._command, name = fill_command(settings, model, adapter, self._port)
        self._root, self._adapter = f"http://127.0.0.1:{self._port}", adapter
        super().__init__(settings.model_copy(update={"base_url": f"{self._root}/v1", "model": name}))
        self._process: subprocess.Popen[bytes] | None = None
        self._pump = threading.Thread(target=self._read, daemon=True)
        self._ready, self._lines, self._said = False, deque[str](maxlen=LAST_LINES), 0
        self._texts: list[str] = []
        self._mark, self._version = "", "unknown"

    def describe(self) -> dict[str, Any]:
        """What determines the replies besides prompts, settings, model and adapter."""
        return {"engine": "server", "server_command": redact(self.settings.command or "")}

    def record(self, journal: Journal) -> dict[str, Any]:
        """Which versions the server had, in this job and in those that it continues."""
        sections = dict.fromkeys(batch["section"] for batch in journal.batches)
        versions = {version for section in sections for version in journal.note(section).get("versions", [])}
        return {"server_versions": sorted(versions)}

    def complete(self, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str) -> None:
        """Like `ServerEngine.complete`, but start the server first if prompts are left to answer.

        Raises:
            FormsafeError: as there; and when the server does not start, is not ready in time, or ends.
        """
        if all(prompt.id in journal.replies(section) for prompt in prompts):
            return
        if self._process is None:
            self._start(str(journal.path.absolute()))
        versions = {*journal.note(section).get("versions", []), self._version}
        journal.add_note(section, versions=sorted(versions))
        self._texts += [text for prompt in prompts for text in (prompt.text, prompt.system, prompt.assistant) if text]
        try:
            super().complete(prompts, decoding, journal, section)
        finally:
            replies = journal.replies(section).values()
            self._texts += [reply[name] for reply in replies for name in ("text", "thoughts") if reply.get(name)]

    def close(self) -> None:
        """End the server and everything that it started, and show its last lines."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        if left := supervisor.end(self._mark, GRACE_SECONDS):  # where the supervisor was killed
            print(f"warning: processes {sorted(left)} of the server do not end; they wait for a device.")
        self._pump.join(timeout=5.0)
        self._process = None
        lines = list(self._lines)
        hidden = overlapping(lines, self._texts, SHARED_LETTERS)
        shown = [f"server: {line}" for number, line in enumerate(lines) if number not in hidden]
        left_out = f" {len(hidden)} of its last lines may repeat texts and are left out." if hidden else ""
        print(*shown, f"The server has ended.{left_out}", sep="\n", flush=True)

    def _start(self, place: str) -> None:
        """Start the server and wait until it is ready."""
        program = self._command[0]
        if shutil.which(program) is None:
            raise FormsafeError(f"generation.server.command: there is no program {program}. Install it, or correct it.")
        for mark in supervisor.orphans(place):
            print("An earlier start of this job was killed and left its server: ending it.")
            supervisor.end(mark, GRACE_SECONDS)
        self._mark = supervisor.mark_of(place, os.getpid())
        # PYTHONPATH names this workflow's library, for another Python; vLLM reports its use to its makers by default.
        environment = {**os.environ, "DO_NOT_TRACK": "1"}
        environment.pop("PYTHONPATH", None)
        cards = installed_cards()
        if environment.get(VARIABLE) in cards:  # vLLM ends with a ValueError where a card has its name (GPU-...) there
            environment |= {VARIABLE: str(cards.index(environment[VARIABLE])), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        watcher = [sys.executable, "-I", "-S", supervisor.__file__, self._mark, str(GRACE_SECONDS)]
        print(f"Starting the server: {redact(shlex.join(self._command))}", flush=True)
        self._process = subprocess.Popen(
            [*watcher, *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        self._pump.start()
        self._await_health()

    def _await_health(self) -> None:
        deadline = time.monotonic() + 60 * self.settings.start_minutes
        while not self._healthy():
            self._require_running("before it was ready")
            if time.monotonic() > deadline:
                raise FormsafeError(
                    f"The server was not ready after {self.settings.start_minutes:g} minutes. See its lines in the "
                    "log, or raise start_minutes (beside command)."
                )
            time.sleep(0.1)
        self._require_own_port()
        self._ready = True
        self._version = one_line(str(self._get("/version")[1].get("version", "unknown")))[:60]
        if self._adapter is not None:
            self._require_adapter()

    def _healthy(self) -> bool:
        status = self._get("/health")[0]
        return status == 200 or (status == 404 and self._get("/v1/models")[0] == 200)

    def _require_own_port(self) -> None:
        """Another program that took the port meanwhile may answer for another model, and would be sent the prompts."""
        own = supervisor.members(self._mark)
        at_port = [each for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == self._port]
        if not any(each.pid in own for each in at_port if each.status == psutil.CONN_LISTEN):
            raise FormsafeError(f"Another program answers at port {self._port}, which was free before. Run again.")

    def _require_adapter(self) -> None:
        """A server that does not know the adapter's name may answer as the base model without a word."""
        entries = self._get("/v1/models")[1].get("data")
        listed = entries if isinstance(entries, list) else []
        names = {str(entry.get("id")) for entry in listed if isinstance(entry, dict)}
        if self.settings.model not in names:
            shown = ", ".join(sorted(map(one_line, names))[:5]) or "no model"
            raise FormsafeError(
                f"The server lists {shown}, and not the adapter {self.settings.model}: it would answer without it. "
                "Correct the arguments with {adapter} in generation.server.command."
            )

    def _require_running(self, when: str) -> None:
        if self._process is not None and (status := self._process.poll()) is not None:
            raise FormsafeError(
                f"The server ended {when} (exit status {status}). Its last lines are in the log. Correct the cause, or "
                "generation.server.command, then run again: the replies so far are kept."
            )

    def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status of a page, 0 without an answer, and the JSON object that it is, empty where it is none."""
        key = key_of(self.settings)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        status, body = 0, None
        with suppress(httpx2.HTTPError, ValueError):
            # `trust_env=False`: a cluster's proxy would be asked for the loopback address
            answer = httpx2.get(f"{self._root}{path}", headers=headers, timeout=5.0, trust_env=False)
            status = answer.status_code
            body = loads(answer.content)
        return status, body if isinstance(body, dict) else {}

    async def _try(self, client: Any, prompt: Prompt, decoding: Decoding) -> Reply:
        try:
            return await super()._try(client, prompt, decoding)
        except Transient:
            self._require_running("while it answered")
            raise

    def _read(self) -> None:
        """Show what the server says until it is ready; keep its last lines afterwards, which may repeat texts."""
        assert self._process is not None and self._process.stdout is not None
        while line := self._process.stdout.readline(LONGEST_LINE):
            text = line.decode(errors="replace").rstrip()
            self._said += 1
            if self._ready or self._said > FIRST_LINES:
                self._lines.append(text)
            else:
                print(f"server: {text}", flush=True)
