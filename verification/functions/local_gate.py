"""Requests to the embedded AWS by its user, by web pages and by other users of this machine: who is answered?"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from chronos_ec2.local import LocalAws

_REFUSED = frozenset({400, 403})
_FOREIGN_HOSTS = ("rebound.example.com:4566", "localhost.example.com", "127.0.0.1.nip.io", "[::1", "0:1", "8.8.8.8")
_PLAIN = {"Content-Type": "text/plain"}
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


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and whether it must be answered. The sender is known by headers or the query."""

    sender: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    answered: bool = False
    method: str = "GET"
    path: str = "/"
    body: bytes = b""

    def of(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Request:
        """Another operation by the same sender."""
        query = ("&" if "?" in path else "?") + self.query if self.query else ""
        return replace(self, method=method, path=path + query, headers={**headers, **self.headers}, body=body)


def local_gate(aws: LocalAws) -> tuple[dict[str, int], list[str]]:
    """The number of requests and of those refused, and a line for each wrong answer."""
    answers = [(request, _status(aws.endpoint, request)) for request in requests(aws.endpoint, aws.access_key)]
    wrong = [
        f"{request.sender}: {request.method} {request.path} got {status}"
        for request, status in answers
        if (status not in _REFUSED) != request.answered
    ]
    return {"requests": len(answers), "refused": sum(status in _REFUSED for _, status in answers)}, wrong


def requests(endpoint: str, key: str) -> Iterator[Request]:
    """Every operation by every sender."""
    for sender in _senders(endpoint, key):
        yield from (sender.of(*operation) for operation in _OPERATIONS)
    for signed in ({}, _signed(key)):
        headers = {"Origin": "https://example.com", "Access-Control-Request-Method": "PUT", **signed}
        yield Request("preflight of a web page", headers, method="OPTIONS", path="/2015-03-31/functions")


def _senders(endpoint: str, key: str) -> Iterator[Request]:
    port, signed = urlsplit(endpoint).port, _signed(key)
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"172.17.0.1:{port}"):
        yield Request(f"user, at {host}", {**signed, "Host": host}, answered=True)
    scope = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={_scope(key)}"
    yield Request("presigned URL", query=scope.replace("/", "%2F"), answered=True)
    yield Request("a function", _signed("000000000000") | {"X-Amz-Security-Token": key}, answered=True)
    yield Request("another user, unsigned")
    yield Request("another user, with a usual key", _signed("test"))
    yield Request("another user, with a function's key", _signed("000000000000"))
    yield Request("another user, with the start of the key", _signed(key[:-1]))
    yield Request("another user, with a usual key in a URL", query=f"X-Amz-Credential={_scope('test')}")
    pages = {f"web page of {origin}": {"Origin": origin} for origin in ("https://example.com", "null", endpoint)}
    pages |= {f"page at {host}": {"Host": host} for host in _FOREIGN_HOSTS}
    for page, headers in pages.items():
        yield Request(page, headers)
        yield Request(f"{page} that knows the key", {**signed, **headers})


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
