"""Serves ministack, behind a gate: only who has the access key of this `up` is answered.

ministack checks no signature, runs code for its clients, and lets every web page read its answers. This file runs with
the Python of ministack's environment, so it imports the standard library, and at its end ministack and its server.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

KEY = "AWS_SESSION_TOKEN"
"""Environment variable with the access key. ministack's functions sign with their account's number as access key, and
send what this variable has as their session token."""

_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/")
_HOST = re.compile(r"(?:\[([0-9a-fA-F:]+)\]|([^:\[\]]+))(?::\d+)?")
_KEEP_ALIVE = 75  # in seconds, ministack's own

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


def refusal(headers: Iterable[tuple[str, str]], query: str, key: str) -> str:
    """Why a request is refused; empty if it is answered. The names of headers are in lower case."""
    found: dict[str, str] = {}
    for name, value in headers:
        if found.setdefault(name, value) != value:
            return f"two headers {name}"
    if browser := next((name for name in found if name == "origin" or name.startswith("access-control-")), ""):
        return f"a web page sent it: it has the header {browser}"
    if not _is_local(found.get("host", "")):
        return "it is for another host"
    signed = _SIGNED.match(found.get("authorization", ""))
    sent = [signed[1]] if signed else []
    sent += [credential.split("/")[0] for credential in parse_qs(query).get("X-Amz-Credential", ())]
    sent += [found[name] for name in ("x-amz-security-token",) if name in found]
    if not any(hmac.compare_digest(each.encode(), key.encode()) for each in sent):
        return "it has not the access key of this `chronos-ec2 local up`"
    return ""


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine: no name but localhost, since DNS may point any other one here."""
    parts = _HOST.fullmatch(host)
    name = parts[1] or parts[2] if parts else ""
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # The latter is Docker's bridge, where containers reach this machine.
    return address.is_loopback or (address.is_private and not address.is_unspecified)


@dataclass(frozen=True, slots=True)
class Gate:
    """An ASGI application before another one."""

    behind: Application
    key: str

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
            if reason := refusal(headers, scope["query_string"].decode("latin-1"), self.key):
                await _refuse(send, reason)
                return
        await self.behind(scope, receive, send)


async def _refuse(send: Send, reason: str) -> None:
    body = f"<Error><Code>AccessDenied</Code><Message>refused: {reason}</Message></Error>".encode()
    headers = [(b"content-type", b"application/xml"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve ministack at BIND_HOST:GATEWAY_PORT."""
    from hypercorn.asyncio import serve  # noqa: PLC0415 - only ministack's environment has both
    from hypercorn.config import Config  # noqa: PLC0415
    from ministack.app import app  # noqa: PLC0415

    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = _KEEP_ALIVE
    asyncio.run(serve(Gate(app, os.environ[KEY]), config))


if __name__ == "__main__":
    main()
