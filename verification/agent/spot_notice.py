"""Spot notice: `python -m verification.agent.spot_notice [MEGABYTES]` measures the seconds until a complete checkpoint.

The real agent runs on a simulated instance, with the trainer `probe` and a checkpoint of the size of Chronos-2 with its
optimiser. Its metadata service and S3 (moto, on the same cores) are real HTTP servers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.s3_keys import CHECKPOINTS, run_key
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.local.ec2.imds import announce_interruption
from chronos_ec2.local.state_dir import INSTANCE_MARK, METADATA
from chronos_ec2.services.checkpoints import Stored, stored_checkpoints
from chronos_ec2.services.publish.agent import build_bundle, publish_bundle
from chronos_ec2.testing.aws_server import s3_server
from verification.agent.figures import note
from verification.agent.probe_runs import ProbeEnvironment, wait_for

MEGABYTES = 1400
BOUND = 90.0
_BUCKET = "spot"
_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class SpotNotice:
    """Seconds until the manifest, which completes a checkpoint, was in S3, and until the instance was off."""

    checkpoint_bytes: int
    seconds: float
    ended_seconds: float
    bound: float
    cause: str


def measure(megabytes: int, disk: Path) -> SpotNotice:
    """Launch, train, send the notice. S3's endpoint comes from the environment."""
    env = ProbeEnvironment(_BUCKET)
    bundle = publish_bundle(env.store, build_bundle(packages_in_image=True))
    probe = {"steps": 10**6, "checkpoint_steps": 10**6, "checkpoint_mb": megabytes}
    launched = env.launch_probe(env.lane, probe, bundle, Limits.from_overrides({"heartbeat": 1}))
    options = {
        "bucket": _BUCKET, "environment": env.name, "run-id": launched.run_id, "attempt": launched.attempt,
        "instance-id": launched.instance_id, "disk": disk, "parent": os.getpid(),
    }  # fmt: skip
    command = [sys.executable, "-m", "chronos_ec2.local.ec2.instance_process"]
    command += [f"--{name}={value}" for name, value in options.items()]

    def training() -> bool:
        read = env.store.read_heartbeat(env.name, launched.run_id)
        return isinstance(read, HeartbeatReceived) and read.heartbeat.step > 0

    def checkpoints() -> list[Stored]:
        return list(stored_checkpoints(env.objects, run_key(env.name, launched.run_id, CHECKPOINTS)))

    with subprocess.Popen(
        command, env=os.environ | {INSTANCE_MARK: launched.instance_id}, stderr=subprocess.DEVNULL
    ) as instance:
        try:
            wait_for(training, _TIMEOUT_SECONDS, lambda: "no training", alive=lambda: instance.poll() is None)
            announced = time.monotonic()
            announce_interruption(disk / METADATA, time.time())
            wait_for(checkpoints, _TIMEOUT_SECONDS, lambda: "no checkpoint", alive=lambda: instance.poll() is None)
            seconds = time.monotonic() - announced
            instance.wait(_TIMEOUT_SECONDS)
            ended = time.monotonic() - announced
        finally:
            instance.terminate()
    (stored,), run = checkpoints(), env.reported
    size = sum(part.size for part in stored.manifest.parts)
    cause = str(run.verdict.cause) if run and run.verdict else ""
    return SpotNotice(size, round(seconds, 1), round(ended, 1), BOUND, cause)


def main(arguments: list[str]) -> int:
    """Measure, into build/agent.json. Returns 1 if it takes longer than the bound."""
    megabytes = int(arguments[0]) if arguments else MEGABYTES
    with TemporaryDirectory(prefix="chronos-ec2-") as disk, s3_server(_BUCKET):
        found = measure(megabytes, Path(disk))
    note("spot", asdict(found))
    print(found)
    return 0 if found.ended_seconds <= BOUND and found.cause == Cause.PREEMPTED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
