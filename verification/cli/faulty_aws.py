"""moto over real HTTP, which answers some requests as it is told."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from io import BytesIO
from threading import Lock, Thread
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from verification.cli.answers import Answer, Fault

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_SERVICE = re.compile(r"Credential=[^/]*/\d+/[^/]+/([a-z0-9-]+)/aws4_request")
_NO_PRICE_LIST = Answer("AccessDeniedException", 400, b'{"__type": "AccessDeniedException"}')
"""moto has no Price List API."""


class FaultyAws:
    """An AWS on this machine, and its fault at the moment."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._fault: Fault | None = None
        self._seen = 0
        self._lock = Lock()

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve it for the duration of the block; its endpoint."""
        server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=MotoRequestHandler)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    @contextmanager
    def failing(self, fault: Fault | None) -> Iterator[None]:
        """Have this fault for the duration of the block."""
        self._fault, self._seen = fault, 0
        try:
            yield
        finally:
            self._fault = None

    def fault_for(self, service: str, body: bytes) -> Answer | None:
        """The answer to a request that is not moto's."""
        fault = self._fault
        if fault and fault.service == service and fault.holds in body:
            with self._lock:
                late = self._seen - fault.after
                self._seen += 1
            if late >= 0 and (fault.times is None or late < fault.times):
                return fault.answer
        return _NO_PRICE_LIST if service == "pricing" else None

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        signed = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
        answer = self.fault_for(signed[1] if signed else "", body)
        if not answer:
            page: Iterable[bytes] = self._moto(environ, start_response)
            return page
        if answer.drop:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        time.sleep(answer.delay)
        length = len(answer.body) if answer.length is None else answer.length
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        start_response(status, [*answer.headers, ("Content-Length", str(length))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]
