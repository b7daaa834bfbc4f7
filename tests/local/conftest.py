"""One embedded AWS for the tests of simulated instances, and a minimal agent to run on them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.domain.records.s3_keys import bundle_key, run_key
from chronos_ec2.local import LocalAws, local_aws
from chronos_ec2.ports import Stack
from tests.local.quick import deploy_outputs_only

RUN_ID = "20260101T000000Z-aaaaaa"

# It starts a child in its own session, as a data loader does, writes down both pids, and lives for SECONDS.
AGENT = """
import json, os, subprocess, sys, time
from pathlib import Path
workdir = Path(sys.argv[sys.argv.index("--workdir") + 1])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
seen = {"argv": sys.argv[1:], "cwd": os.getcwd(), "endpoint": os.environ.get("AWS_ENDPOINT_URL")}
seen |= {"pids": [os.getpid(), child.pid]}
(workdir / "seen.new").write_text(json.dumps(seen))
(workdir / "seen.new").rename(workdir / "seen.json")
time.sleep(SECONDS)
"""


def wait_for(what: Callable[[], Any], seconds: float = 240.0) -> Any:
    """Return what `what` returns as soon as it is true. The limit allows for a busy machine."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"did not happen within {seconds} s"
        time.sleep(0.1)
    return found


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Cloud:
    """The deployed stack, and launches of instances on it."""

    aws: LocalAws
    stack: Stack

    def upload_agent(self, seconds: float) -> str:
        """Upload a bundle whose agent lives for so many seconds. Returns its SHA-256."""
        files = {"agent/__init__.py": "", "agent/__main__.py": AGENT.replace("SECONDS", str(seconds))}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        client("s3").put_object(Bucket=self.stack.bucket, Key=bundle_key(sha256), Body=buffer.getvalue())
        return sha256

    def launch(self, bundle_sha256: str, run_id: str = RUN_ID, lane: str = "main") -> str:
        """Start an instance as `launch` does, without the run's record. Returns its id."""
        request = json.dumps({"bundle_sha256": bundle_sha256}).encode()
        client("s3").put_object(
            Bucket=self.stack.bucket, Key=run_key(self.stack.environment, run_id, "request.json"), Body=request
        )
        tags = owner_tags(self.stack.project, self.stack.environment) | {"RunId": run_id, "Lane": lane}
        response = client("ec2").run_instances(
            MinCount=1,
            MaxCount=1,
            SubnetId=self.stack.subnet_ids[0],
            LaunchTemplate={"LaunchTemplateId": self.stack.launch_template_id},
            IamInstanceProfile={"Arn": self.stack.instance_profile_arn},
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )
        return str(response["Instances"][0]["InstanceId"])

    def agent_of(self, instance_id: str) -> dict[str, Any]:
        """What the agent wrote when it started."""
        seen = self.aws.disk(instance_id) / "work" / "seen.json"
        wait_for(seen.exists)
        return dict(json.loads(seen.read_bytes()))

    def state_of(self, instance_id: str) -> str:
        """The state that EC2 reports."""
        reservations = client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"]
        return str(reservations[0]["Instances"][0]["State"]["Name"])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with local_aws(tmp_path_factory.mktemp("aws") / "state", deploy=deploy_outputs_only) as aws, aws.exported():
        yield Cloud(aws, read_stack(client("cloudformation"), aws.environment))
