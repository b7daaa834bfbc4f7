"""The agent's connection to AWS: late or expired credentials, and independent clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest

from agent.boot.request import connect, read_request
from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.agent import agent_world
from chronos_ec2.domain.errors import InvalidDocument, NoCredentials, ServiceUnavailable
from chronos_ec2.domain.facts import ReadFailed
from chronos_ec2.domain.limits import Limits
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing.aws_server import BUCKET
from chronos_ec2.testing.builders import a_heartbeat
from tests.agent.builders import LANE, RUN_ID, World, a_config, an_identity, launch
from tests.agent.imds import Imds, imds

ROLE = "iam/security-credentials/"


@pytest.fixture
def service(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Imds]:
    """A metadata service that credentials come from, if it has any."""
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


def test_the_agent_waits_for_credentials_that_arrive_late(service: Imds) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            give_credentials(service)

    world = connect(lambda: agent_world(BUCKET), sleep)

    found = world.store.objects.read("dev/a")
    assert found is not None
    assert (found.body, slept) == (b"there", [1, 2])


def test_without_credentials_the_agent_gives_up_after_a_minute(service: Imds) -> None:
    slept: list[float] = []
    with pytest.raises(NoCredentials):
        connect(lambda: agent_world(BUCKET), slept.append)
    assert sum(slept) == 60


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 that rejects every token as expired."""

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
def test_expired_credentials_are_a_temporary_failure(tmp_path: Path) -> None:
    world = agent_world(BUCKET)
    assert isinstance(world.store.read_lock(LANE), ReadFailed)
    with pytest.raises(ServiceUnavailable, match="ExpiredToken"):
        world.store.write_heartbeat("dev", a_heartbeat())
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(ServiceUnavailable, match="ExpiredToken"):
        world.transfer.upload(tmp_path / "a", f"dev/{RUN_ID}/a", lambda _: None)


@pytest.mark.usefixtures("aws")
def test_throttled_large_objects_do_not_delay_heartbeats() -> None:
    """botocore's adaptive mode has one rate limit per client: after a SlowDown, one request in two seconds."""
    world = agent_world(BUCKET)
    store: RunStore = world.store
    heartbeats, large = (part._s3.meta.config for part in (store.objects, world.transfer))  # type: ignore[attr-defined]
    assert (heartbeats.retries["mode"], large.retries["mode"]) == ("standard", "adaptive")
    longest = heartbeats.retries["total_max_attempts"] * (heartbeats.connect_timeout + heartbeats.read_timeout)
    assert timedelta(seconds=longest) < 2 * Limits().heartbeat


def test_the_request_of_another_run_or_environment_is_refused() -> None:
    world, other = World(), "20260131T130000Z-ffffff"
    launch(world, a_config())
    body = world.memory.objects.body(f"dev/{RUN_ID}/request.json")
    for environment, run_id in (("dev", other), ("prod", RUN_ID)):
        world.memory.objects.write(f"{environment}/{run_id}/request.json", body)
        with pytest.raises(InvalidDocument, match="belongs to another run"):
            read_request(world.store, an_identity(environment=environment, run_id=run_id), lambda _seconds: None)
    assert read_request(world.store, an_identity(), lambda _seconds: None).run_id == RUN_ID
