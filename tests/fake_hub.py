"""A hub on the loopback interface: repositories in memory, behind the few routes that huggingface_hub uses."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = hashlib.sha1(b"formsafe").hexdigest()


class FakeHub:
    """Repositories by `models/owner/name` or `datasets/owner/name`: files by path, and an optional refusal."""

    def __init__(self):
        self.files, self.refusals, self.commits, self.requests, self.tokens = {}, {}, {}, [], set()
        self.settings = {}

    def add(self, repository, files, commit=COMMIT):
        """Add a repository, or give it a new commit with other files."""
        self.files[repository, commit] = files
        self.commits[repository] = commit

    def refuse(self, repository, status, code, files_only=False):
        """Answer with `status` and the header X-Error-Code; with `files_only`, a gate that still shows the page."""
        self.refusals[repository] = (status, code, files_only)

    def answer(self, path):
        """Status, headers and body of a request; the root and an OpenAI-compatible server below /v1 answer, too."""
        if path in ("/", "/v1/models"):
            return 200, {}, b""
        path = unquote(urlsplit(path).path).strip("/")
        if path.startswith("plain/"):
            return self._file(self.files.get((path, None)))
        api = path.startswith("api/")
        parts = path.removeprefix("api/").split("/")
        if parts[0] not in ("models", "datasets"):
            parts.insert(0, "models")
        repository, (action, *rest) = "/".join(parts[:3]), parts[3:] or ["revision", "main"]
        status, code, files_only = self.refusals.get(repository, (None, None, False))
        if status is not None and (not files_only or action == "resolve"):
            return status, {"X-Error-Code": code} if code else {}, b""
        if repository not in self.commits:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        revision = self.commits[repository] if rest[0] == "main" else rest[0]
        if (repository, revision) not in self.files:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = self.files[repository, revision]
        if api and action == "revision":
            siblings = [{"rfilename": file} for file in files]
            own = {"id": repository.partition("/")[2], "sha": revision, "siblings": siblings}
            return self._json(own | self.settings.get(repository, {}))
        if api and action == "tree":
            return self._json([{"type": "file", "path": f, "size": len(b), "oid": _etag(b)} for f, b in files.items()])
        status, headers, body = self._file(files.get("/".join(rest[1:])))
        return status, headers | {"X-Repo-Commit": revision}, body

    def change(self, path, body):
        """Status, headers and body of a request that makes a repository, changes its settings or adds a commit."""
        parts = unquote(urlsplit(path).path).strip("/").split("/")[1:]
        if parts == ["validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if parts == ["repos", "create"]:
            made = json.loads(body)
            repository = f"models/{made['organization']}/{made['name']}"
            place = json.dumps({"url": f"{self.address}/{made['organization']}/{made['name']}"}).encode()
            if repository in self.commits:
                return 409, {}, place
            self.add(repository, {})
            self.settings[repository] = {"private": made.get("visibility") == "private", "gated": False}
            return 200, {"Content-Type": "application/json"}, place
        repository, action = "/".join(parts[:3]), parts[3]
        status, code, _ = self.refusals.get(repository, (None, None, False))
        if status is not None:
            return status, {"X-Error-Code": code} if code else {}, b"{}"
        if action == "settings":
            new = json.loads(body)
            private = {"private": new["visibility"] == "private"} if "visibility" in new else {}
            self.settings[repository] |= private | {"gated": new.get("gated", False)}
            return self._json({})
        if action == "preupload":
            asked = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
            return self._json({"files": modes})
        lines = [json.loads(line) for line in body.splitlines()]
        added = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
        held = {name: base64.b64decode(content) for name, content in added.items()}
        commit = hashlib.sha1(body).hexdigest()
        self.add(repository, self.files[repository, self.commits[repository]] | held, commit)
        return self._json({"commitUrl": f"{self.address}/{parts[1]}/{parts[2]}/commit/{commit}", "commitOid": commit})

    def _json(self, value):
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

    def _file(self, body):
        if isinstance(body, int):
            return body, {}, b""
        return (
            (404, {"X-Error-Code": "EntryNotFound"}, b"") if body is None else (200, {"ETag": f'"{_etag(body)}"'}, body)
        )


def _etag(body):
    return hashlib.sha1(body).hexdigest()


@contextmanager
def serving(hub):
    """Serve `hub` and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are two packets: the second would wait 40 ms for an answer

        def do_GET(self):
            hub.requests.append(f"{self.command} {urlsplit(self.path).path}")
            hub.tokens.add(self.headers.get("Authorization"))
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def do_POST(self):
            hub.requests.append(f"{self.command} {urlsplit(self.path).path}")
            hub.tokens.add(self.headers.get("Authorization"))
            status, headers, body = hub.change(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST

        def log_message(self, *arguments):
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
