"""The state folder of an embedded AWS: what lies where, and the record of what runs."""

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

DEFAULT_STATE_DIR = Path(".chronos-ec2/local")
MARK = "CHRONOS_EC2_LOCAL"
"""Environment variable that every process of an embedded AWS carries; its value is the token of this one."""
INSTANCE_MARK = "CHRONOS_EC2_LOCAL_INSTANCE"
"""Environment variable that every process on a pretended instance carries; its value is the instance's id."""
ENVIRONMENT = "local"
REGION = "us-east-1"

_LOCK_WITHIN = 2.0
"""Linux lets go of a parent before the child that it starts has closed what it inherited, this lock among it."""

_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    # Whatever the user has configured belongs to another AWS.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


class LocalAwsFailed(UserError):
    """The embedded AWS could not be started, or is in the way."""


def aws_variables(endpoint: str) -> dict[str, str]:
    """The environment variables that make an AWS client talk to `endpoint`, past any proxy."""
    return _VARIABLES | past_proxies() | {"AWS_ENDPOINT_URL": endpoint}


def past_proxies() -> dict[str, str]:
    """NO_PROXY with this machine in it, in both spellings: clients differ in which of them they read."""
    hosts = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")
    value = ",".join(dict.fromkeys([*filter(None, hosts), "127.0.0.1", "localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


def without_aws(variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables without those that point at an AWS or at a stack of ours."""
    foreign = {"BUCKET", "ENVIRONMENT", "INSTANCE_TYPE"}
    return {name: value for name, value in variables.items() if not name.startswith("AWS_") and name not in foreign}


@dataclass(frozen=True, slots=True)
class Record:
    """What runs in a state folder. `stand_in` is None until the stack is deployed."""

    token: str
    endpoint: str
    port: int
    emulator: int
    stand_in: int | None = None
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths in a state folder."""

    root: Path

    @property
    def record(self) -> Path:
        """Which processes there are."""
        return self.root / "state.json"

    @property
    def scratch(self) -> Path:
        """Temporary files of the emulator, the code of its functions among them."""
        return self.root / "tmp"

    @property
    def sam(self) -> Path:
        """Where `sam` builds."""
        return self.root / "sam"

    @property
    def instances(self) -> Path:
        """One folder for each instance: its disk."""
        return self.root / "instances"

    def log(self, name: str) -> Path:
        """The log of `emulator`, `sam` or `ec2`."""
        return self.root / f"{name}.log"

    def read(self) -> Record | None:
        """What runs here, None when nothing was ever started or it was ended."""
        try:
            raw = json.loads(self.record.read_bytes())
            return Record(**raw)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise LocalAwsFailed(f"{self.record} is not readable ({error}); delete {self.root}") from error

    def write(self, record: Record) -> None:
        """Note what runs, in one step."""
        new = self.record.with_suffix(".new")
        new.write_text(json.dumps(asdict(record), indent=2) + "\n")
        new.replace(self.record)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts or ends anything here meanwhile. Raises LocalAwsFailed when somebody does already."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as handle:
            end = time.monotonic() + _LOCK_WITHIN
            while not _try_lock(handle):
                if time.monotonic() > end:
                    raise LocalAwsFailed(f"another command is starting or ending the embedded AWS in {self.root}")
                time.sleep(0.05)
            yield


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(line.rstrip() for line in lines[-count:])
