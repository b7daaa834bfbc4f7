"""An EC2 instance simulated as a process: boots as the user data does, runs the agent, ends with the agent.

The simulator starts `python -m chronos_ec2.local.ec2.instance_process` for each instance record. When this process
ends, however it ends, the instance is off, and every process that ran on it is killed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import tarfile
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Objects, S3Transfer
from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST
from chronos_ec2.domain.records.s3_keys import bundle_key, run_key
from chronos_ec2.local.ec2.imds import metadata, server_of
from chronos_ec2.local.processes import die_with_parent, kill_marked
from chronos_ec2.local.state_dir import INSTANCE_MARK, METADATA, REGION
from chronos_ec2.ports import ObjectStore, ObjectTransfer
from chronos_ec2.services.publish.wheels import REFERENCE

logger = logging.getLogger("instance")


class BootFailed(Exception):
    """The agent's bundle is missing, or is not what the request names."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Boot and run the agent; the instance is off when this process ends."""
    parser = argparse.ArgumentParser(prog="python -m chronos_ec2.local.ec2.instance_process")
    for name in ("bucket", "environment", "run-id", "attempt", "instance-id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--disk", type=Path, required=True, help="folder of this instance")
    parser.add_argument("--parent", type=int, required=True, help="pid of the simulator")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")

    def power_off(_signal: int, _frame: object) -> None:
        kill_marked(INSTANCE_MARK, options.instance_id)
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, power_off)
    die_with_parent(options.parent, signal.SIGTERM)
    try:
        s3 = client("s3")
        store, transfer = S3Objects(s3, options.bucket), S3Transfer(s3, options.bucket)
        bundle = fetch_bundle(store, transfer, run_key(options.environment, options.run_id, REQUEST), options.disk)
    except BootFailed as error:
        logger.warning("boot failed: %s: power off", error)
        return 1
    return _run_agent(options, bundle)


def fetch_bundle(store: ObjectStore, transfer: ObjectTransfer, request_key: str, disk: Path) -> Path:
    """Download and unpack the bundle that a run's request names. Its hash is verified first. Returns its folder.

    Raises:
        BootFailed: the request or the bundle is missing, the hash is another, the archive would write outside its
            folder, or the agent needs packages to be installed: here it uses this machine's.
    """
    archive, target = disk / "bundle.tar.gz", disk / "bundle"
    try:
        request = store.read(request_key, MAX_REQUEST_BYTES)
        if request is None:
            raise BootFailed(f"{request_key} does not exist")
        sha256 = str(json.loads(request.body)["bundle_sha256"])
        transfer.download(bundle_key(sha256), archive, lambda _count: None)
    except (ChronosError, ValueError, KeyError, TypeError) as error:
        raise BootFailed(f"{request_key}: {error!r}") from error
    if (found := hashlib.sha256(archive.read_bytes()).hexdigest()) != sha256:
        raise BootFailed(f"the bundle has SHA-256 {found}, but {request_key} names {sha256}")
    try:
        _unpack(archive, target)
    except tarfile.TarError as error:
        raise BootFailed(f"bundle {sha256}: {error}") from error
    if (target / REFERENCE).exists():
        raise BootFailed(f"bundle {sha256} has a {REFERENCE}: deploy the stack with AgentPackages=image")
    return target


def _unpack(archive: Path, target: Path) -> None:
    """Unpack regular files below `target`; refuse anything else. `extractall(filter=)` needs Python 3.11.4."""
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = PurePosixPath(member.name)
            content = tar.extractfile(member) if member.isfile() else None
            if content is None or inside.is_absolute() or ".." in inside.parts:
                raise tarfile.ExtractError(f"{member.name} is not a regular file below its folder")
            path = target / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


def _run_agent(options: argparse.Namespace, bundle: Path) -> int:
    workdir = options.disk / "work"
    workdir.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "agent", "--bucket", options.bucket, "--environment", options.environment]
    command += ["--run-id", options.run_id, "--attempt", options.attempt, "--instance-id", options.instance_id]
    command += ["--boot-id", str(uuid.uuid4()), "--workdir", str(workdir)]
    instance_pid = os.getpid()
    answers = options.disk / METADATA
    answers.write_text(json.dumps(metadata(options.instance_id, REGION, os.environ["AWS_ACCESS_KEY_ID"])))
    with server_of(answers) as service:
        endpoint = f"http://127.0.0.1:{service.server_port}"
        imds = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint, "AWS_EC2_METADATA_DISABLED": "false"}
        agent = subprocess.Popen(
            command,
            cwd=bundle,
            env=os.environ | imds | {"PYTHONPATH": str(bundle)},
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(instance_pid),  # noqa: PLW1509 - this process has one thread until now
        )
        threading.Thread(target=service.serve_forever, daemon=True).start()
        (options.disk / "agent.pid").write_text(f"{agent.pid}\n")
        logger.info("agent started, pid %d", agent.pid)
        code = agent.wait()
        service.shutdown()
    logger.info("agent ended with %d: power off", code)
    kill_marked(INSTANCE_MARK, options.instance_id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
