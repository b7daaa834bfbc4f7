"""Each instance record in EC2 has a process; one ends with the other."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import tarfile

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.records.s3_keys import bundle_key
from chronos_ec2.local.state_dir import StateDir
from tests.local.conftest import RUN_ID, Cloud, alive, wait_for

pytestmark = pytest.mark.embedded_aws


def test_the_agent_is_started_as_the_user_data_does(cloud: Cloud) -> None:
    instance_id = cloud.launch(cloud.upload_agent(600))
    agent = cloud.agent_of(instance_id)
    options = dict(zip(agent["argv"][::2], agent["argv"][1::2], strict=True))
    assert options.pop("--boot-id")
    assert options == {
        "--bucket": cloud.stack.bucket,
        "--environment": "local",
        "--run-id": RUN_ID,
        "--attempt": "0",
        "--instance-id": instance_id,
        "--workdir": str(cloud.aws.disk(instance_id) / "work"),
    }
    assert agent["cwd"] == str(cloud.aws.disk(instance_id) / "bundle")
    assert agent["endpoint"] == cloud.aws.endpoint
    assert int((cloud.aws.disk(instance_id) / "agent.pid").read_text()) == agent["pids"][0]


def test_terminating_an_instance_kills_all_its_processes(cloud: Cloud) -> None:
    instance_id = cloud.launch(cloud.upload_agent(600))
    pids = cloud.agent_of(instance_id)["pids"]
    assert all(alive(pid) for pid in pids)
    client("ec2").terminate_instances(InstanceIds=[instance_id])
    wait_for(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize("how", ["by itself", "killed"])
def test_the_instance_ends_with_its_agent(cloud: Cloud, how: str) -> None:
    instance_id = cloud.launch(cloud.upload_agent(0.5 if how == "by itself" else 600))
    agent, child = cloud.agent_of(instance_id)["pids"]
    if how == "killed":
        os.kill(agent, signal.SIGKILL)
    wait_for(lambda: cloud.state_of(instance_id) == "terminated")
    assert not alive(child)


def test_a_stopped_instance_runs_nothing(cloud: Cloud) -> None:
    instance_id = cloud.launch(cloud.upload_agent(600))
    pids = cloud.agent_of(instance_id)["pids"]
    client("ec2").stop_instances(InstanceIds=[instance_id])
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert cloud.state_of(instance_id) in {"stopped", "stopping", "terminated"}


@pytest.mark.parametrize("problem", ["missing", "forged"])
def test_an_instance_that_cannot_boot_powers_off(cloud: Cloud, problem: str) -> None:
    sha256 = "0" * 64 if problem == "missing" else "1" * 64
    if problem == "forged":
        client("s3").put_object(Bucket=cloud.stack.bucket, Key=bundle_key(sha256), Body=b"something else")
    instance_id = cloud.launch(sha256)
    log = cloud.aws.disk(instance_id) / "boot.log"
    wait_for(lambda: log.exists() and "boot failed" in log.read_text())
    wait_for(lambda: cloud.state_of(instance_id) == "terminated")
    assert not (cloud.aws.disk(instance_id) / "agent.pid").exists()


def test_a_bundle_cannot_write_outside_its_folder(cloud: Cloud) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../escaped"))
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    client("s3").put_object(Bucket=cloud.stack.bucket, Key=bundle_key(sha256), Body=buffer.getvalue())
    instance_id = cloud.launch(sha256)
    log = cloud.aws.disk(instance_id) / "boot.log"
    wait_for(lambda: log.exists() and "boot failed" in log.read_text())
    assert not list(cloud.aws.state_dir.rglob("escaped"))
    client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_no_instance_survives_the_emulator(cloud: Cloud) -> None:
    """The last test of this module: it kills the emulator that the others need."""
    pids = cloud.agent_of(cloud.launch(cloud.upload_agent(600)))["pids"]
    record = StateDir(cloud.aws.state_dir).read()
    assert record is not None
    os.kill(record.emulator, signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in pids))
