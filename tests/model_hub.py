"""A hub of models for tests: in memory, and as a server that the real adapter asks."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from chronos_ec2.domain.errors import InvalidInput, ServiceUnavailable
from chronos_ec2.ports import HubFiles

FILES = {
    "config.json": b'{"chronos_config": {"context_length": 512}}',
    "model.safetensors": b"weights" * 100,
    "README.md": b"# A model",
    "pytorch_model.bin": b"pickle",
    "onnx/model.safetensors": b"elsewhere",
}
"""A model as the hub has them: with files that no run needs."""
KEPT = ("config.json", "model.safetensors")


class MemoryHub:
    """Models by name, each with its commits; the newest is the default branch. Downloads go below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.models: dict[str, dict[str, Mapping[str, bytes]]] = {}
        self.asked: list[str] = []
        """Each call, with its model."""
        self.answers = True

    def put(self, name: str, files: Mapping[str, bytes] = FILES) -> str:
        """A new commit of a model."""
        commit = hashlib.sha1(f"{name}{sorted(files.items())}".encode(), usedforsecurity=False).hexdigest()
        self.models.setdefault(name, {})[commit] = files
        return commit

    def find(self, name: str, revision: str | None) -> HubFiles:
        """A revision of a model."""
        self._ask("find", name)
        commits = self._commits(name)
        commit = list(commits)[-1] if revision in (None, "main") else revision
        if commit not in commits:
            raise InvalidInput(name, f"the hub has no revision {revision} of this model", "look")
        return HubFiles(str(commit), tuple((file, len(body)) for file, body in commits[str(commit)].items()))

    def download(self, name: str, commit: str, files: Sequence[str]) -> Path:
        """Write files of a commit into a folder."""
        self._ask("download", name)
        folder = self._folder / commit
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            (folder / file).write_bytes(self._commits(name)[commit][file])
        return folder

    def _ask(self, call: str, name: str) -> None:
        self.asked.append(f"{call} {name}")
        if not self.answers:
            raise ServiceUnavailable("the hub did not answer", "try again")

    def _commits(self, name: str) -> dict[str, Mapping[str, bytes]]:
        if name not in self.models:
            raise InvalidInput(name, "the hub has no such model", "look")
        return self.models[name]


class _Handler(BaseHTTPRequestHandler):
    """Answers as huggingface.co does."""

    hub: MemoryHub

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        if not self.hub.answers:
            self._send(501, b"", {}, body=body)  # a status that the library does not retry for a minute
        elif (api := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)) is not None:
            self._info(api[1], api[2])
        elif (file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)) is not None:
            found = self.hub.models[file[1]][file[2]][file[3]]
            etag = hashlib.sha256(found).hexdigest()
            self._send(200, found, {"ETag": f'"{etag}"', "X-Repo-Commit": file[2]}, body=body)

    def _info(self, name: str, revision: str | None) -> None:
        commits = self.hub.models.get(name)
        if commits is None:
            return self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        commit = list(commits)[-1] if revision in (None, "main") else str(revision)
        if commit not in commits:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = [{"rfilename": name, "size": len(body), "blobId": "0" * 40} for name, body in commits[commit].items()]
        document = {"id": name, "modelId": name, "sha": commit, "private": False, "siblings": files, "tags": []}
        return self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], *, body: bool = True) -> None:
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def serving(hub: MemoryHub) -> Iterator[str]:
    """Serve a hub; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
