"""An EC2 instance in a container: systemd is PID 1, cloud-init runs the user data, power-off stops the container.

It has what EC2 gives to an instance: user data, the metadata service, a role's credentials, a network. It has no GPU,
and shares this machine's kernel.
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
from chronos_ec2.local.state_dir import NEEDS_DOCKER, REGION, LocalAwsFailed

IMAGE = "chronos-ec2-instance"
_SCRIPT = Path(__file__).with_name("instance-image.sh")
_NETWORK = "bridge"
_MEMORY_LIMIT = "[Service]\nMemoryMax=768M\n"
"""The memory of agent and trainer together. /proc/meminfo has this machine's, not the container's."""
# A unit that starts while cloud-init still runs the user data, before sysinit.target, as many do on Ubuntu.
_EARLY_UNITS = {
    "sysinit.target.d/early.conf": "[Unit]\nWants=early.path\n",
    "early.path": "[Unit]\nDefaultDependencies=no\n[Path]\nPathExists=/etc/chronos-ec2/run\n",
    "early.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
}
_SITE = "/opt/pytorch/lib/python3.13/site-packages"
# As on an AMI whose agents bring their packages: it has torch and pip alone.
_HIDE_PACKAGES = f"""\
import os, sys
bare = "/run/image-packages"
os.makedirs(bare, exist_ok=True)
for name in os.listdir("{_SITE}"):
    if name.startswith(("torch", "pip")) and not os.path.lexists(f"{{bare}}/{{name}}"):
        os.symlink(f"{_SITE}/{{name}}", f"{{bare}}/{{name}}")
sys.path[:] = [bare if path == "{_SITE}" else path for path in sys.path]
"""
# CAP_NET_ADMIN: the metadata service adds its address to the loopback interface.
_OPTIONS = (
    "--cap-add=NET_ADMIN", "--security-opt=seccomp=unconfined", "--tmpfs=/run", "--tmpfs=/run/lock",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw", "--memory=2g", f"--network={_NETWORK}",
)  # fmt: skip


def ensure_image() -> None:
    """Build the image of an instance unless Docker has it. Raises LocalAwsFailed with the reason."""
    done = subprocess.run([str(_SCRIPT), sys.executable, IMAGE], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LocalAwsFailed(done.stderr.strip().splitlines()[-1], NEEDS_DOCKER)


@dataclass(frozen=True, slots=True)
class InstanceContainer:
    """A container that stands for an EC2 instance."""

    name: str

    @classmethod
    def create(
        cls, instance_id: str, user_data: str, endpoint: str, access_key: str, *, packages_in_image: bool = True
    ) -> InstanceContainer:
        """Create an instance, not yet started, whose AWS is the one at `endpoint`; its role has `access_key`."""
        name = f"chronos-ec2-{secrets.token_hex(4)}"
        _docker("create", f"--name={name}", f"--hostname={instance_id}", *_OPTIONS, IMAGE)
        instance = cls(name)
        files = {
            "/etc/imds.json": json.dumps(metadata(instance_id, REGION, access_key)),
            "/etc/systemd/system.conf.d/aws.conf": f"[Manager]\nDefaultEnvironment=AWS_ENDPOINT_URL={endpoint}\n",
            "/etc/systemd/system/chronos-agent.service.d/memory.conf": _MEMORY_LIMIT,
            **{f"/etc/systemd/system/{name}": unit for name, unit in _EARLY_UNITS.items()},
            "/var/lib/cloud/seed/nocloud/user-data": user_data,
            "/var/lib/cloud/seed/nocloud/meta-data": f"instance-id: {instance_id}\n",
        }
        if not packages_in_image:
            # Not sitecustomize, of which Debian has one.
            files |= {
                f"{_SITE}/hide_packages.pth": "import hide_packages\n",
                f"{_SITE}/hide_packages.py": _HIDE_PACKAGES,
            }
        _docker("cp", "-", f"{name}:/", stdin=_tar(files))
        return instance

    def start(self) -> None:
        """Boot it, for the first time or again."""
        _docker("start", self.name)

    def run(self, script: str) -> str:
        """Run a shell script on the instance. Returns its output, empty if the script or the instance fails."""
        done = subprocess.run(
            ["docker", "exec", self.name, "sh", "-c", script], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def crash(self) -> None:
        """Stop it at once, as a kernel panic does: no process on it gets a signal."""
        _docker("kill", self.name)

    def disconnect(self) -> None:
        """Disconnect it from the network."""
        _docker("network", "disconnect", _NETWORK, self.name)

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return _docker("inspect", "--format={{.State.Running}}", self.name).strip() == "true"

    def stops_within(self, seconds: float) -> bool:
        """Whether it stops by itself within so many seconds."""
        end = time.monotonic() + seconds
        while self.running:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def remove(self) -> None:
        """Remove it, running or not."""
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
        raise LocalAwsFailed(f"docker {arguments[0]}: {done.stderr.decode(errors='replace').strip()}", NEEDS_DOCKER)
    return done.stdout.decode()
