"""A stand-in with vLLM's command line: `serve MODEL --port PORT --enable-lora --lora-modules NAME=FOLDER`.

It answers as `faulty_server.echo` does, with the adapter's name before it, and misbehaves as FORMSAFE_STAND_IN says:

- `slow` is never healthy, `mute` never listens, `refuse` ends at once, `die=N` kills itself at request N, `hang=N`
  never answers from N on;
- `stubborn` ignores SIGTERM, `child` starts a process that does, `bare` one that has overwritten its environment,
  `daemon` such a one in a session of its own;
- `deaf` knows no adapter, `chatty` shows requests and replies.
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
WORDS = dict(word.partition("=")[::2] for word in os.environ.get("FORMSAFE_STAND_IN", "").split())


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets: the second would wait 40 ms for an answer
    names: ClassVar[dict[str, str]] = {}
    requests = 0

    def do_GET(self):
        """Health, version and the list of models."""
        pages = {"/health": {}, "/version": {"version": "0.0.1+stand\x1b-in"}}
        pages["/v1/models"] = {"data": [{"id": name} for name in self.names]}
        page = None if "slow" in WORDS else pages.get(self.path)
        self._send(503 if page is None else 200, page)

    def do_POST(self):
        """A chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Handler.requests += 1
        if Handler.requests >= int(WORDS.get("die", 10**9)):
            os.kill(os.getpid(), signal.SIGKILL)
        if Handler.requests >= int(WORDS.get("hang", 10**9)):
            time.sleep(600)
        if body["model"] not in self.names and "deaf" not in WORDS:
            return self._send(404, {"error": {"code": "model_not_found"}})
        text = f"{self.names.get(body['model'], '')}You asked: {body['messages'][-1]['content']}"
        if "chatty" in WORDS:
            print("\x1b[2JReceived", json.dumps(body), "api_key=sk-0123456789abcdefghij", file=sys.stderr)
            print(repr(text), "\nThe queue of requests is empty again.", file=sys.stderr)
        message = {"role": "assistant", "content": text}
        usage = {"completion_tokens": len(text.split())}
        self._send(200, {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage})

    def _send(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        """Say nothing."""


def main():
    """Read vLLM's arguments and serve."""
    model, options = sys.argv[2], sys.argv[3:]
    port = int(options[options.index("--port") + 1])
    Handler.names = {model: ""}
    if "--lora-modules" in options and "deaf" not in WORDS:
        name, _, folder = options[options.index("--lora-modules") + 1].partition("=")
        with open(f"{folder}/adapter_model.safetensors", "rb") as weights:
            Handler.names[name] = f"[{weights.read().decode()}] "
    if "stubborn" in WORDS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep = [sys.executable, "-I", "-S", "-c", SLEEP, model]
    if "child" in WORDS:
        subprocess.Popen(sleep)
    bare = {"PATH": os.environ["PATH"]}
    if "bare" in WORDS:
        subprocess.Popen(sleep, env=bare)
    if "daemon" in WORDS:
        subprocess.Popen(sleep, env=bare, start_new_session=True)
    print("Loading weights", model, os.environ.get("CUDA_VISIBLE_DEVICES"), file=sys.stderr, flush=True)
    if "refuse" in WORDS:
        sys.exit("no kernel image for this device")
    if "mute" in WORDS:
        time.sleep(600)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
