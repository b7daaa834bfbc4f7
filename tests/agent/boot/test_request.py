"""The agent's way into AWS: credentials that come late or go, clients that are not in each other's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest

from agent.boot.request import connect
from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap import agent_world
from chronos_ec2.domain.errors import NoCredentials, ServiceUnavailable
from chronos_ec2.domain.facts import ReadFailed
from chronos_ec2.domain.limits import Limits
from chronos_ec2.run_store import RunStore
from tests.agent.builders import LANE, RUN_ID
from tests.agent.imds import Imds, imds
from tests.aws_server import BUCKET
from tests.builders import a_heartbeat

ROLE = "iam/security-credentials/"


@pytest.fixture
def service(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Imds]:
    """An instance: credentials come from its metadata service, if they come."""
    client("s3").create_bucket(Bucket=BUCKET)
    client("s3").put_object(Bucket=BUCKET, Key="dev/a", Body=b"there")
    with imds() as made:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", made.endpoint)
        boto3.setup_default_session()
        yield made


def give_credentials(service: Imds) -> None:
    credentials = {
        "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "testing", "SecretAccessKey": "testing",
        "Token": "testing", "Expiration": (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip
    service.answers |= {ROLE: "role", f"{ROLE}role": json.dumps(credentials)}


def test_credentials_that_come_late_are_taken_when_they_come(service: Imds) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            give_credentials(service)

    world = connect(lambda: agent_world(BUCKET), sleep)

    found = world.store.objects.read("dev/a")
    assert found is not None
    assert (found.body, slept) == (b"there", [1, 2])


def test_without_credentials_a_box_gives_up_after_a_minute(service: Imds) -> None:
    slept: list[float] = []
    with pytest.raises(NoCredentials):
        connect(lambda: agent_world(BUCKET), slept.append)
    assert sum(slept) == 60


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 for which every token has expired."""

    class Refuser(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuser) as server:
        Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


@pytest.mark.usefixtures("refusing")
def test_credentials_that_have_expired_are_no_end_but_a_reason_to_try_again(tmp_path: Path) -> None:
    world = agent_world(BUCKET)
    assert isinstance(world.store.read_lock(LANE), ReadFailed)
    with pytest.raises(ServiceUnavailable, match="ExpiredToken"):
        world.store.write_heartbeat("dev", a_heartbeat())
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(ServiceUnavailable, match="ExpiredToken"):
        world.transfer.upload(tmp_path / "a", f"dev/{RUN_ID}/a", lambda _: None)


@pytest.mark.usefixtures("aws")
def test_what_holds_back_large_objects_does_not_hold_back_a_beat() -> None:
    """The adaptive mode has one limit for all that a client asks; after a SlowDown lets it ask once in two seconds."""
    world = agent_world(BUCKET)
    store: RunStore = world.store
    beats, large = (part._s3.meta.config for part in (store.objects, world.transfer))  # type: ignore[attr-defined]
    assert (beats.retries["mode"], large.retries["mode"]) == ("standard", "adaptive")
    longest = beats.retries["total_max_attempts"] * (beats.connect_timeout + beats.read_timeout)
    assert timedelta(seconds=longest) < 2 * Limits().heartbeat
