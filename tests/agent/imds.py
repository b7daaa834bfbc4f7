"""A metadata service: a real HTTP server that speaks version 2, and knows what a test tells it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SPOT, REBALANCE = "spot/instance-action", "events/recommendations/rebalance"


class Imds:
    """What the service answers. `tokens` are those that are valid now."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.given = 0
        self.takes_no_token = False
        self.confused = 0
        """So many of the next answers are not HTTP."""
        self.asked: list[str] = []
        self.endpoint = ""

    def take_back(self, action: str = "terminate", at: str = "2026-01-31T12:02:00Z") -> None:
        self.answers[SPOT] = f'{{"action": "{action}", "time": "{at}"}}'

    def recommend_to_leave(self, at: str = "2026-01-31T12:00:00Z") -> None:
        self.answers[REBALANCE] = f'{{"noticeTime": "{at}"}}'


@contextmanager
def imds() -> Iterator[Imds]:
    """A service that answers for as long as the block lasts."""
    service = Imds()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            if self.path != "/latest/api/token" or "X-aws-ec2-metadata-token-ttl-seconds" not in self.headers:
                self.answer(400, "")
                return
            service.given += 1
            service.tokens = {f"token-{service.given}"}
            self.answer(200, f"token-{service.given}")

        def do_GET(self) -> None:
            name = self.path.removeprefix("/latest/meta-data/")
            if self.headers.get("X-aws-ec2-metadata-token") not in service.tokens or service.takes_no_token:
                self.answer(401, "")
                return
            service.asked.append(name)
            self.answer(200 if name in service.answers else 404, service.answers.get(name, ""))

        def answer(self, code: int, body: str) -> None:
            if service.confused:
                service.confused -= 1
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
