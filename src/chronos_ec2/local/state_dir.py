"""The state folder of an embedded AWS: its paths, and the record of its processes."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from chronos_ec2.domain.errors import UserError
from chronos_ec2.services.publish.wheels import PIP_ANYWHERE

DEFAULT_STATE_DIR = Path(".chronos-ec2/local")
MARK = "CHRONOS_EC2_LOCAL"
"""Environment variable of every process of an embedded AWS; its value is the token of that AWS."""
INSTANCE_MARK = "CHRONOS_EC2_LOCAL_INSTANCE"
"""Environment variable of every process on a simulated instance; its value is the instance id."""
METADATA = "imds.json"
"""On the disk of a simulated instance: what its metadata service answers. A spot notice is written there."""
ENVIRONMENT = "local"
REGION = "us-east-1"

_LOCK_TIMEOUT = 2.0
"""In seconds. A child that was just started may hold the lock of its parent until its exec."""

_VARIABLES = {
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    # The user's own configuration is for another AWS.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


UNSET = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE", "AWS_SESSION_TOKEN", "BUCKET", "INSTANCE_TYPE")
"""What a shell must not have, whether or not it has it now."""


class LocalAwsFailed(UserError):
    """The embedded AWS could not be started or used, or is running already."""


NEEDS_DOCKER = "`docker info` has to answer: install Docker, start its daemon, and be in the group that may use it"


def aws_variables(endpoint: str, access_key: str) -> dict[str, str]:
    """The environment variables that point an AWS client at `endpoint`, bypassing any proxy."""
    return _VARIABLES | no_proxy() | {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": access_key}


def no_proxy() -> dict[str, str]:
    """NO_PROXY with this machine added, in both spellings: clients differ in which one they read."""
    hosts = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")
    value = ",".join(dict.fromkeys([*filter(None, hosts), "127.0.0.1", "localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


def without_aws(variables: Mapping[str, str]) -> dict[str, str]:
    """Drop the variables that point at an AWS or at one of our stacks."""
    ours = {"BUCKET", "ENVIRONMENT", "INSTANCE_TYPE"}
    return {name: value for name, value in variables.items() if not name.startswith("AWS_") and name not in ours}


def tool_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for a Python of its own, without those that are set for another Python or pip."""
    others = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    return {name: value for name, value in variables.items() if name not in others} | PIP_ANYWHERE


@dataclass(frozen=True, slots=True)
class Record:
    """An embedded AWS and its processes. `ec2_simulator` is None until the stack is deployed."""

    token: str
    endpoint: str
    access_key: str
    emulator: int
    ec2_simulator: int | None = None
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class StateDir:
    """The paths in a state folder."""

    root: Path

    @property
    def record(self) -> Path:
        """The record of the processes."""
        return self.root / "state.json"

    @property
    def scratch(self) -> Path:
        """Temporary files of the emulator, including the code of its functions."""
        return self.root / "tmp"

    @property
    def sam(self) -> Path:
        """Where `sam` builds."""
        return self.root / "sam"

    @property
    def instances(self) -> Path:
        """One folder per instance: its disk."""
        return self.root / "instances"

    def log(self, name: str) -> Path:
        """The log of `emulator`, `sam` or `ec2`."""
        return self.root / f"{name}.log"

    def read(self) -> Record | None:
        """The record; None if nothing is running. Raises LocalAwsFailed if it is damaged."""
        try:
            raw = json.loads(self.record.read_bytes())
            return Record(**raw)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise LocalAwsFailed(f"{self.record} is not readable ({error})", f"delete {self.root}") from error

    def write(self, record: Record) -> None:
        """Write the record atomically. It has the access key, so only its owner may read it."""
        new = self.record.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(asdict(record), indent=2) + "\n")
        new.replace(self.record)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from starting or stopping anything here. Raises LocalAwsFailed if one does already."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as handle:
            end = time.monotonic() + _LOCK_TIMEOUT
            while not _try_lock(handle):
                if time.monotonic() > end:
                    problem = f"another command is starting or stopping the embedded AWS in {self.root}"
                    raise LocalAwsFailed(problem, "try again when it is done")
                time.sleep(0.05)
            yield


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_lines(log: Path, count: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(line.rstrip() for line in lines[-count:])
