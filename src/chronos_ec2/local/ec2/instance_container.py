"""An EC2 instance in a container: systemd is its first process, cloud-init reads its user data, its end is its end.

What EC2 gives to an instance is there: user data, the metadata service, a role's credentials, a network. A GPU is not,
and the kernel is this machine's.
"""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chronos_ec2.local.ec2.imds import metadata
from chronos_ec2.local.state_dir import REGION, LocalAwsFailed

IMAGE = "chronos-ec2-instance"
_SCRIPT = Path(__file__).with_name("instance-image.sh")
_NETWORK = "bridge"
_SMALL = "[Service]\nMemoryMax=768M\n"
"""The memory that the box's agent and trainer have together; the kernel's own figure is that of this machine."""
# As on Ubuntu, where much is started while cloud-init, before sysinit.target, still goes through the user data.
_NEIGHBOUR = {
    "sysinit.target.d/neighbour.conf": "[Unit]\nWants=neighbour.path\n",
    "neighbour.path": "[Unit]\nDefaultDependencies=no\n[Path]\nPathExists=/etc/chronos-ec2/run\n",
    "neighbour.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
}
# CAP_NET_ADMIN: the metadata service gives the loopback interface its address.
_OPTIONS = (
    "--cap-add=NET_ADMIN", "--security-opt=seccomp=unconfined", "--tmpfs=/run", "--tmpfs=/run/lock",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw", "--memory=2g", f"--network={_NETWORK}",
)  # fmt: skip


def ensure_image() -> None:
    """Have the image of an instance in Docker. Raises LocalAwsFailed with the reason."""
    done = subprocess.run([str(_SCRIPT), sys.executable, IMAGE], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LocalAwsFailed(done.stderr.strip().splitlines()[-1])


@dataclass(frozen=True, slots=True)
class PlayedInstance:
    """A container that plays an instance."""

    name: str

    @classmethod
    def create(cls, instance_id: str, user_data: str, endpoint: str) -> PlayedInstance:
        """An instance that is not switched on yet; its AWS is the one behind `endpoint`."""
        name = f"chronos-ec2-{secrets.token_hex(4)}"
        _docker("create", f"--name={name}", f"--hostname={instance_id}", *_OPTIONS, IMAGE)
        instance = cls(name)
        files = {
            "/etc/imds.json": json.dumps(metadata(instance_id, REGION)),
            "/etc/systemd/system.conf.d/aws.conf": f"[Manager]\nDefaultEnvironment=AWS_ENDPOINT_URL={endpoint}\n",
            "/etc/systemd/system/chronos-agent.service.d/small.conf": _SMALL,
            **{f"/etc/systemd/system/{name}": unit for name, unit in _NEIGHBOUR.items()},
            "/var/lib/cloud/seed/nocloud/user-data": user_data,
            "/var/lib/cloud/seed/nocloud/meta-data": f"instance-id: {instance_id}\n",
        }
        _docker("cp", "-", f"{name}:/", stdin=_tar(files))
        return instance

    def switch_on(self) -> None:
        """Boot it, for the first or for another time."""
        _docker("start", self.name)

    def run(self, script: str) -> str:
        """What a shell on the instance says; empty when it, or the instance, is not able to."""
        done = subprocess.run(
            ["docker", "exec", self.name, "sh", "-c", script], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def crash(self) -> None:
        """Stop it where it is, as a kernel that panics does: nobody on it is told."""
        _docker("kill", self.name)

    def unplug(self) -> None:
        """Take it from the network."""
        _docker("network", "disconnect", _NETWORK, self.name)

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return _docker("inspect", "--format={{.State.Running}}", self.name).strip() == "true"

    def ended_within(self, seconds: float) -> bool:
        """Whether it ends by itself within so many seconds."""
        end = time.monotonic() + seconds
        while self.up:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def remove(self) -> None:
        """Take it away, whatever it does."""
        subprocess.run(["docker", "rm", "--force", "--volumes", self.name], capture_output=True, check=False)


def _tar(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _docker(*arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise LocalAwsFailed(f"docker {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()
