"""Spot notice: `python -m verification.agent.spot_notice [MEGABYTES]` measures the seconds until a complete checkpoint.

The real agent runs as a process, with the trainer `probe` and a checkpoint of the size of Chronos-2 with its optimiser.
Its metadata service and S3 (moto, on the same cores) are real HTTP servers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.clocks import SystemClock
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.domain.facts import Found, HeartbeatReceived, LockHeld
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.checkpoint import MANIFEST
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key, shared_key
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.local.ec2.imds import announce_interruption, metadata, server_of
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.checkpoints import stored_checkpoints
from chronos_ec2.services.launch import Launched, LaunchSpec, launch
from chronos_ec2.testing import MemoryDeadlines, MemoryFleet
from chronos_ec2.testing.aws_server import s3_server
from verification.agent.figures import note
from verification.instance_faults.testbed import a_small_data_set

MEGABYTES = 1400
BOUND = 90.0
_BUCKET, _LANE, _DATA = "spot", Lane("dev"), "training-data/spot/"
_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class SpotNotice:
    """Seconds until the manifest, which completes a checkpoint, was in S3, and until the agent had exited."""

    checkpoint_bytes: int
    seconds: float
    ended_seconds: float
    bound: float
    cause: str


def measure(megabytes: int, scratch: Path) -> SpotNotice:
    """Launch, train, send the notice. S3's endpoint comes from the environment."""
    store = RunStore(S3Objects(client("s3"), _BUCKET))
    launched = _launch(store, megabytes)
    answers = scratch / "imds.json"
    answers.write_text(json.dumps(metadata(launched.instance_id, "us-east-1", "testing")))
    with _metadata_service(answers) as endpoint:
        agent = _agent(launched, scratch / "instance", endpoint)
        try:
            _wait(agent, lambda: _step(store, launched) > 0)
            begin = time.monotonic()
            announce_interruption(answers, time.time())
            prefix = run_key(_LANE.environment, launched.run_id, "checkpoints/")
            _wait(agent, lambda: any(key.endswith(MANIFEST) for key, _ in store.objects.keys(prefix)))
            seconds = time.monotonic() - begin
            agent.wait(_TIMEOUT_SECONDS)
            ended = time.monotonic() - begin
        finally:
            agent.kill()
            agent.wait()
    (stored,) = stored_checkpoints(store.objects, prefix)
    return SpotNotice(
        sum(part.size for part in stored.manifest.parts), round(seconds, 1), round(ended, 1), BOUND, _cause(store)
    )


def _launch(store: RunStore, megabytes: int) -> Launched:
    store.objects.write(
        shared_key(_LANE.environment, f"{_DATA}part.parquet"), a_small_data_set(), "application/octet-stream"
    )
    config = {
        "trainer": "probe", "data": {"path": _DATA}, "prediction_length": 2, "context_length": 4,
        "probe": {"steps": 10**6, "step_seconds": 0.2, "checkpoint_steps": 10**6, "checkpoint_mb": megabytes},
    }  # fmt: skip
    clock = SystemClock()
    limits = Limits.from_overrides({"heartbeat": 1})
    order = LaunchSpec(
        _LANE, config, _DATA, ("g4dn.2xlarge",), ("subnet-0",), _BUCKET, "0" * 64, limits, allow_cpu=True
    )  # fmt: skip
    launched = launch(order, store, MemoryFleet(clock), MemoryDeadlines(clock), clock)
    assert isinstance(launched, Launched), launched
    return launched


def _agent(launched: Launched, workdir: Path, endpoint: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "agent", "--bucket", _BUCKET, "--environment", _LANE.environment]
    command += [
        "--run-id",
        launched.run_id,
        "--attempt",
        str(launched.attempt),
        "--instance-id",
        launched.instance_id,
        "--workdir",
        str(workdir),
    ]
    imds = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint, "AWS_EC2_METADATA_DISABLED": "false"}
    return subprocess.Popen(command, env=os.environ | imds, stderr=subprocess.DEVNULL)


@contextmanager
def _metadata_service(answers: Path) -> Iterator[str]:
    with server_of(answers) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _wait(agent: subprocess.Popen[bytes], until: Callable[[], bool]) -> None:
    end = time.monotonic() + _TIMEOUT_SECONDS
    while not until():
        if agent.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the agent exited or timed out")
        time.sleep(0.1)


def _step(store: RunStore, launched: Launched) -> int:
    read = store.read_heartbeat(_LANE.environment, launched.run_id)
    return read.heartbeat.step if isinstance(read, HeartbeatReceived) else 0


def _cause(store: RunStore) -> str:
    held = store.read_lock(_LANE)
    outcome = store.read_outcome(held.run) if isinstance(held, LockHeld) else None
    return str(outcome.document.verdict.cause) if isinstance(outcome, Found) else ""


def main(arguments: list[str]) -> int:
    """Measure, into build/agent.json. Returns 1 if it takes longer than the bound."""
    megabytes = int(arguments[0]) if arguments else MEGABYTES
    with TemporaryDirectory(prefix="chronos-ec2-") as scratch, s3_server(_BUCKET):
        found = measure(megabytes, Path(scratch))
    note("spot", asdict(found))
    print(found)
    return 0 if found.ended_seconds <= BOUND and found.cause == Cause.PREEMPTED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
