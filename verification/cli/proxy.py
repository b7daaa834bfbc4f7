"""A proxy before an AWS, which sends what it is told to instead of some answers."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from verification.cli.answers import Answer

_SERVICE = re.compile(r"Credential=[^/]*/\d+/[^/]+/(?P<service>[a-z0-9-]+)/aws4_request")
_NO_PRICE_LIST = Answer("AccessDeniedException", 400, b'{"__type": "AccessDeniedException"}')
"""moto has no Price List API."""
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})


@dataclass(frozen=True, slots=True)
class Fault:
    """Which requests get another answer: those of a service that hold a text; `times` of them, after `after` others."""

    service: str
    answer: Answer
    holds: str = ""
    times: int | None = None
    after: int = 0


@dataclass
class Proxy:
    """Where clients ask, and what is wrong at the moment."""

    aws: str
    endpoint: str = ""
    faults: tuple[Fault, ...] = ()
    hits: dict[Fault, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def with_faults(self, *faults: Fault) -> Iterator[None]:
        """Have these faults for the duration of the block."""
        self.faults, self.hits = faults, {}
        try:
            yield
        finally:
            self.faults = ()

    def fault_for(self, service: str, request: str) -> Answer | None:
        """The answer to a request that is not AWS's."""
        with self._lock:
            for fault in self.faults:
                seen = self.hits.get(fault, 0)
                if fault.service == service and fault.holds in request:
                    self.hits[fault] = seen + 1
                    if seen >= fault.after and (fault.times is None or seen < fault.after + fault.times):
                        return fault.answer
        return _NO_PRICE_LIST if service == "pricing" else None


class _Handler(BaseHTTPRequestHandler):
    """Serves one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle_any(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        signed = _SERVICE.search(self.headers.get("Authorization", ""))
        text = f"{self.command} {self.path} {body[:4096].decode(errors='replace')}"
        fault = self.server.proxy.fault_for(signed["service"] if signed else "", text)
        with suppress(ConnectionError):
            if fault:
                self._answer(fault)
            else:
                self._pass_on(body)

    def _answer(self, answer: Answer) -> None:
        self.close_connection = True
        if answer.drop:
            return
        time.sleep(answer.delay)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _pass_on(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.server.proxy.aws).netloc, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        response = connection.getresponse()
        content = response.read()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        # The answer to HEAD has the length of what GET would return.
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815


class _Server(ThreadingHTTPServer):
    """Forgets a connection that its client closes early."""

    daemon_threads = True

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        proxy.endpoint = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up in many situations."""


@contextmanager
def proxy_before(aws: str) -> Iterator[Proxy]:
    """A proxy that runs for the duration of the block."""
    proxy = Proxy(aws)
    server = _Server(proxy)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
