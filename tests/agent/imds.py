"""A fake metadata service: a real HTTP server for IMDSv2."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SPOT, REBALANCE = "spot/instance-action", "events/recommendations/rebalance"


class Imds:
    """The answers of the service by path. `tokens` are the valid ones."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.tokens_issued = 0
        self.rejects_tokens = False
        self.invalid_responses = 0
        """How many of the next responses are not HTTP."""
        self.requests: list[str] = []
        self.endpoint = ""

    def interrupt(self, action: str = "terminate", at: str = "2026-01-31T12:02:00Z") -> None:
        self.answers[SPOT] = f'{{"action": "{action}", "time": "{at}"}}'

    def recommend_rebalance(self, at: str = "2026-01-31T12:00:00Z") -> None:
        self.answers[REBALANCE] = f'{{"noticeTime": "{at}"}}'


@contextmanager
def imds() -> Iterator[Imds]:
    """The service, for the duration of the block."""
    service = Imds()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            if self.path != "/latest/api/token" or "X-aws-ec2-metadata-token-ttl-seconds" not in self.headers:
                self.answer(400, "")
                return
            service.tokens_issued += 1
            service.tokens = {f"token-{service.tokens_issued}"}
            self.answer(200, f"token-{service.tokens_issued}")

        def do_GET(self) -> None:
            name = self.path.removeprefix("/latest/meta-data/")
            if self.headers.get("X-aws-ec2-metadata-token") not in service.tokens or service.rejects_tokens:
                self.answer(401, "")
                return
            service.requests.append(name)
            self.answer(200 if name in service.answers else 404, service.answers.get(name, ""))

        def answer(self, code: int, body: str) -> None:
            if service.invalid_responses:
                service.invalid_responses -= 1
                self.wfile.write(b"nonsense\r\n\r\n")
                return
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
