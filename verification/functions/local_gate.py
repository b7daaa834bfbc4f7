"""Requests to the embedded AWS by its user, by web pages and by other users of this machine: who is answered?"""

from __future__ import annotations

import http.client
import secrets
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

from chronos_ec2.local import emulator
from chronos_ec2.local.processes import kill_marked
from chronos_ec2.local.state_dir import MARK, Record, StateDir

_REFUSED = frozenset({400, 403})
_FOREIGN_HOSTS = ("rebound.example.com:4566", "localhost.example.com", "127.0.0.1.nip.io", "[::1", "0:1", "8.8.8.8")
_PLAIN = {"Content-Type": "text/plain"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and whether it must be answered."""

    sender: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    answered: bool = False


@dataclass(frozen=True, slots=True)
class _Sender:
    """Somebody who asks: the headers by which he is known."""

    name: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    answered: bool = False


def local_gate() -> tuple[dict[str, int], list[str]]:
    """The number of requests and of those refused, and a line for each wrong answer. Raises LocalAwsFailed."""
    with _emulator() as record:
        answers = [(request, _status(record.endpoint, request)) for request in requests(record)]
    figures = {"requests": len(answers), "refused": sum(status in _REFUSED for _, status in answers)}
    return figures, wrong(answers)


def wrong(answers: Sequence[tuple[Request, int]]) -> list[str]:
    """A line for each request whose answer is not the expected one."""
    return [
        f"{request.sender}: {request.method} {request.path} got {status}"
        for request, status in answers
        if (status not in _REFUSED) != request.answered
    ]


def requests(record: Record) -> Iterator[Request]:
    """Every operation by every sender."""
    for sender, (method, path, headers, body) in product(_senders(record), _OPERATIONS):
        query = ("&" if "?" in path else "?") + sender.query if sender.query else ""
        yield Request(sender.name, method, path + query, {**headers, **sender.headers}, body, sender.answered)
    for key in ({}, _signed(record.access_key)):
        preflight = {"Origin": "https://example.com", "Access-Control-Request-Method": "PUT", **key}
        yield Request("preflight of a web page", "OPTIONS", "/2015-03-31/functions", preflight)


_OPERATIONS: tuple[tuple[str, str, Mapping[str, str], bytes], ...] = (
    ("GET", "/_ministack/health", {}, b""),
    ("GET", "/2015-03-31/functions/", {}, b""),
    ("GET", "/", {}, b""),
    ("PUT", "/gate-bucket", {}, b""),
    ("PUT", "/gate-bucket/object", _PLAIN, b"x"),
    ("GET", "/gate-bucket/object", {}, b""),
    ("POST", "/?Action=CreateQueue&QueueName=gate&Version=2012-11-05", _PLAIN, b""),
    ("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListTopics&Version=2010-03-31"),
)
"""Operations that succeed, for whoever is answered."""


def _senders(record: Record) -> Iterator[_Sender]:
    port, key = urlsplit(record.endpoint).port, record.access_key
    signed = _signed(key)
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"172.17.0.1:{port}"):
        yield _Sender(f"user, at {host}", {**signed, "Host": host}, answered=True)
    scope = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={_scope(key)}"
    yield _Sender("presigned URL", query=scope.replace("/", "%2F"), answered=True)
    yield _Sender("a function", _signed("000000000000") | {"X-Amz-Security-Token": key}, answered=True)
    yield _Sender("another user, unsigned")
    yield _Sender("another user, with a usual key", _signed("test"))
    yield _Sender("another user, with a function's key", _signed("000000000000"))
    yield _Sender("another user, with the start of the key", _signed(key[:-1]))
    yield _Sender("another user, with a usual key in a URL", query=f"X-Amz-Credential={_scope('test')}")
    for origin in ("https://example.com", "null", record.endpoint):
        yield _Sender(f"web page of {origin}", {"Origin": origin})
        yield _Sender(f"web page of {origin} that knows the key", {**signed, "Origin": origin})
    for host in _FOREIGN_HOSTS:
        yield _Sender(f"page at {host}", {"Host": host})
        yield _Sender(f"page at {host} that knows the key", {**signed, "Host": host})


def _scope(key: str) -> str:
    return f"{key}/20260101/us-east-1/s3/aws4_request"


def _signed(key: str) -> dict[str, str]:
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={_scope(key)}, SignedHeaders=host, Signature=0"}


def _status(endpoint: str, request: Request) -> int:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
    connection.request(request.method, request.path, request.body, dict(request.headers))
    status = connection.getresponse().status
    connection.close()
    return status


@contextmanager
def _emulator() -> Iterator[Record]:
    """The embedded AWS without a stack."""
    python = emulator.installed(print)
    token, key = uuid.uuid4().hex, secrets.token_hex(16).upper()
    with tempfile.TemporaryDirectory() as folder:
        state = StateDir(Path(folder))
        pid, endpoint = emulator.start(python, state, token, key)
        record = Record(token, endpoint, key, emulator=pid)
        try:
            emulator.wait_until_ready(record, state.log("emulator"))
            yield record
        finally:
            kill_marked(MARK, token)
