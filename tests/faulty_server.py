"""An OpenAI-compatible server on loopback that answers by rule, or passes on to a real one, with faults on demand."""

import contextlib
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[[int, dict[str, Any]], Any]


class FaultyServer(ThreadingHTTPServer):
    """Counts requests; `fault(number, body)` says what befalls one.

    It returns None (none), a status code, ("refuse", status, body), ("later", the `retry-after` of a 429),
    ("wait", seconds), ("text", a body in place of the reply), "drop" (the connection is closed without an answer) or
    "die" (from now on every connection is).
    """

    daemon_threads = True

    def __init__(self, fault: Fault = lambda number, body: None, upstream: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault, self.upstream = fault, upstream
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.under_way = self.most_under_way = 0
        self.dead = False

    @property
    def url(self) -> str:
        """Address up to and including /v1."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: FaultyServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets: the second would wait 40 ms for an answer

    def do_POST(self) -> None:
        """Answer a chat completion, or fail as told."""
        raw = self.rfile.read(int(self.headers["content-length"]))
        body = json.loads(raw)
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.headers.append(dict(self.headers))
            number = len(self.server.bodies)
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
        try:
            self._answer(number, body, raw)
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    def _answer(self, number: int, body: dict[str, Any], raw: bytes) -> None:
        fault = "die" if self.server.dead else self.server.fault(number, body)
        if fault in ("die", "drop"):
            self.server.dead |= fault == "die"
            self.close_connection = True
            return
        if isinstance(fault, int):
            return self._send(fault, b'{"error": "told to"}')
        if isinstance(fault, tuple) and fault[0] == "later":
            return self._send(429, b"{}", {"retry-after": fault[1]})
        if isinstance(fault, tuple) and fault[0] == "refuse":
            return self._send(fault[1], fault[2].encode())
        if isinstance(fault, tuple) and fault[0] == "wait":
            time.sleep(fault[1])
        if isinstance(fault, tuple) and fault[0] == "text":
            return self._send(200, fault[1].encode())
        self._send(200, self._reply(body, raw))

    def _reply(self, body: dict[str, Any], raw: bytes) -> bytes:
        if self.server.upstream is None:
            return completion(echo(body)).encode()
        address = f"{self.server.upstream}/chat/completions"
        request = urllib.request.Request(address, raw, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def _send(self, status: int, content: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(content)),
            **(more or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def echo(body: dict[str, Any]) -> str:
    """The rule by which it answers."""
    return f"You asked: {body['messages'][-1]['content']}"


def completion(text: str | None, **more: Any) -> str:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}} | more
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": {"completion_tokens": 7}})


@contextlib.contextmanager
def serving(server: FaultyServer) -> Iterator[FaultyServer]:
    """Serve in a thread while the block runs."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
