"""The embedded AWS answers only who started it."""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.local.gate import Gate, refusal
from chronos_ec2.local.state_dir import Record, StateDir
from tests.local.conftest import Cloud
from verification.functions.local_gate import requests

RECORD = Record("token", "http://127.0.0.1:4566", "KEY" * 10, emulator=1)


class Behind:
    """An application that counts what reaches it."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})


def answer(scope: dict[str, Any]) -> tuple[list[dict[str, Any]], Behind]:
    """What the gate sends, and what reaches the application behind it."""
    sent: list[dict[str, Any]] = []
    behind = Behind()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> None:
        raise AssertionError("the gate reads no body")

    asyncio.run(Gate(behind, RECORD.access_key)(scope, receive, send))
    return sent, behind


def test_each_request_of_the_matrix_is_answered_or_refused_as_its_sender_deserves() -> None:
    every = list(requests(RECORD.endpoint, RECORD.access_key))
    for request in every:
        path, _, query = request.path.partition("?")
        headers = {"Host": urlsplit(RECORD.endpoint).netloc, **request.headers}
        scope = {
            "type": "http", "method": request.method, "path": path, "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        sent, behind = answer(scope)
        assert (sent[0]["status"], len(behind.scopes)) == ((200, 1) if request.answered else (403, 0)), request
    assert sum(request.answered for request in every) > 30
    assert sum(not request.answered for request in every) > 100


def test_a_refusal_lets_no_page_read_it() -> None:
    sent, _ = answer({"type": "http", "query_string": b"", "headers": [(b"origin", b"https://example.com")]})
    assert not [name for name, _ in sent[0]["headers"] if name.startswith(b"access-control")]


def test_web_sockets_are_closed_and_the_start_of_the_server_passes() -> None:
    sent, behind = answer({"type": "websocket", "headers": [], "query_string": b""})
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert behind.scopes == []
    assert answer({"type": "lifespan"})[1].scopes == [{"type": "lifespan"}]


@pytest.mark.parametrize("name", ["authorization", "host", "x-amz-security-token"])
def test_a_header_that_comes_twice_is_refused(name: str) -> None:
    signed = [("host", "localhost:1"), ("authorization", "AWS4-HMAC-SHA256 Credential=KEY/20260101/")]
    assert refusal(signed, "", "KEY") == ""
    assert refusal([*signed, (name, "one"), (name, "two")], "", "KEY")


def test_only_its_owner_reads_the_record(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.write(RECORD)
    assert stat.S_IMODE(state.record.stat().st_mode) == 0o600


def zipped(code: str) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.py", code)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.embedded_aws
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://example.com"}, {"Host": "rebound.example.com"}, {}],
    ids=["drive-by", "DNS rebinding", "another user of this machine"],
)
def test_nobody_else_creates_and_runs_a_function(cloud: Cloud, tmp_path: Path, headers: dict[str, str]) -> None:
    run = tmp_path / "run"
    create = {
        "FunctionName": "drive-by", "Runtime": "python3.11", "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Code": {"ZipFile": zipped(f"def handler(*_): open({str(run)!r}, 'w').close()")},
    }  # fmt: skip
    statuses = []
    for path, body in (("", json.dumps(create)), ("/drive-by/invocations", "{}")):
        sent = {"Content-Type": "text/plain", **headers}
        connection = http.client.HTTPConnection(urlsplit(cloud.aws.endpoint).netloc, timeout=60)
        connection.request("POST", f"/2015-03-31/functions{path}", body.encode(), sent)
        response = connection.getresponse()
        response.read()
        connection.close()
        statuses.append(response.status)
        assert response.getheader("Access-Control-Allow-Origin") is None
    assert not run.exists()
    assert statuses == [403, 403]
    assert "drive-by" not in [each["FunctionName"] for each in client("lambda").list_functions()["Functions"]]


@pytest.mark.embedded_aws
def test_a_function_of_the_embedded_aws_may_call_it(cloud: Cloud) -> None:
    code = (
        "import os, urllib.request\n"
        "def handler(*_):\n"
        "    headers = {'Authorization': 'AWS4-HMAC-SHA256 Credential=' + os.environ['AWS_ACCESS_KEY_ID'] + '/',\n"
        "               'X-Amz-Security-Token': os.environ['AWS_SESSION_TOKEN']}\n"
        "    request = urllib.request.Request(os.environ['AWS_ENDPOINT_URL'], headers=headers)\n"
        "    return urllib.request.urlopen(request).status\n"
    )
    function = {"FunctionName": "caller", "Runtime": "python3.11", "Handler": "index.handler", "Timeout": 60}
    client("lambda").create_function(
        **function, Role="arn:aws:iam::000000000000:role/any", Code={"ZipFile": base64.b64decode(zipped(code))}
    )
    assert client("lambda").invoke(FunctionName="caller")["Payload"].read() == b"200"
