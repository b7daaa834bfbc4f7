"""EC2's instance metadata service, version 2 (IMDSv2): `python imds.py FILE` serves the paths in FILE, a JSON object.

This file is copied into instance containers, so it imports the standard library only. As on EC2, every request but
PUT /latest/api/token needs a token.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_TOKEN = secrets.token_hex(16)
_TTL = "X-aws-ec2-metadata-token-ttl-seconds"


class Metadata(BaseHTTPRequestHandler):
    """Answers requests; reads the file again for each."""

    source: Path

    def do_PUT(self) -> None:
        """Return a token, which needs none itself."""
        if self.path == "/latest/api/token" and self.headers.get(_TTL):
            self._answer(200, _TOKEN, {_TTL: self.headers[_TTL]})
        else:
            self._answer(400, "")

    def do_GET(self) -> None:
        """Return the value of a path."""
        if self.headers.get("X-aws-ec2-metadata-token") != _TOKEN:
            self._answer(401, "")
            return
        found = json.loads(self.source.read_bytes()).get(self.path.removeprefix("/latest/"))
        self._answer(404 if found is None else 200, found or "")

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def metadata(instance_id: str, region: str, access_key: str) -> dict[str, str]:
    """What EC2 serves to an instance that has a role, by path."""
    role = {
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
        "Expiration": "2099-01-01T00:00:00Z", "AccessKeyId": access_key, "SecretAccessKey": "test", "Token": "test",
    }  # fmt: skip
    return {
        "meta-data/instance-id": instance_id,
        "meta-data/placement/region": region,
        "meta-data/iam/security-credentials/": "agent",
        "meta-data/iam/security-credentials/agent": json.dumps(role),
    }


def server_of(source: Path, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A server of the paths in a file, which listens already. Port 0: one that is free."""
    answers = type("Answers", (Metadata,), {"source": source, "log_message": lambda *_: None})
    return ThreadingHTTPServer((host, port), answers)


def announce_interruption(source: Path, now: float) -> None:
    """Add the notice that EC2 gives a spot instance two minutes ahead; `now` is in seconds since 1970."""
    notice = {"action": "terminate", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 120))}
    draft = source.with_suffix(".draft")
    known = json.loads(source.read_text())
    draft.write_text(json.dumps(known | {"meta-data/spot/instance-action": json.dumps(notice)}))
    draft.replace(source)


def main(source: str) -> None:
    """Serve at the address of EC2's own service, and notify systemd when ready."""
    server = server_of(Path(source), "169.254.169.254", 80)
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(b"READY=1", address)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
