"""What the services need from the world, as small protocols. `aws/` and `memory/` implement each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from chronos_ec2.domain.facts import BeatRead, Held, StateRead
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.lane import Lane
from chronos_ec2.domain.lease import Heartbeat
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.run import Run


class Clock(Protocol):
    """AWS time. The clock of a laptop or of a training box is never judged by."""

    def now(self) -> datetime:
        """The time, aware UTC."""
        ...


class RunStore(Protocol):
    """The bucket. Each write to a lock is conditional; a lost condition is LostRace.

    Every method raises ServiceUnavailable when S3 does not answer, except the reads, which return Failed.
    """

    def create_lock(self, run: Run) -> Held:
        """Take the lane, if it is free.

        Raises:
            LostRace: somebody holds the lane.
        """
        ...

    def read_lock(self, lane: Lane) -> StateRead:
        """The lock of a lane."""
        ...

    def replace_lock(self, run: Run, expected: Held) -> Held:
        """Write `run` with the next `seq` and a new nonce, if the lock still is `expected`.

        Raises:
            LostRace: somebody wrote, or released, since.
        """
        ...

    def release_lock(self, lane: Lane, etag: str) -> None:
        """Delete the lock, if it still has this ETag. Releasing what is gone is no error.

        Raises:
            LostRace: somebody wrote since.
        """
        ...

    def read_raw_lock(self, lane: Lane) -> bytes | None:
        """The bytes of the lock (at most MAX_DOCUMENT_BYTES), for setting an unreadable one aside."""
        ...

    def lanes(self, environment: str) -> tuple[Lane, ...]:
        """The lanes of an environment that have a lock now."""
        ...

    def write_beat(self, environment: str, heartbeat: Heartbeat) -> None:
        """Overwrite the heartbeat of a run."""
        ...

    def read_beat(self, environment: str, run_id: str) -> BeatRead:
        """The newest heartbeat of a run."""
        ...

    def put(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Write an object."""
        ...

    def put_new(self, key: str, body: bytes) -> bool:
        """Write an object unless the key exists; whether this call wrote it."""
        ...

    def get(self, key: str) -> bytes | None:
        """A document of ours, None when the key does not exist.

        Raises:
            Unreadable: larger than MAX_DOCUMENT_BYTES.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object; a missing key is no error."""
        ...

    def keys(self, prefix: str) -> Iterable[tuple[str, int]]:
        """(key, bytes) of every object below a prefix, in key order."""
        ...

    def children(self, prefix: str) -> tuple[str, ...]:
        """The names one level below a prefix that hold something, without slashes."""
        ...


class ObjectTransfer(Protocol):
    """Large objects, in parallel parts. Raises ServiceUnavailable."""

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write an object to a file; `on_bytes` hears of every piece that arrived, from any thread."""
        ...

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None]) -> None:
        """Write a file to an object; `on_bytes` hears of every piece that left, from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class LaunchOption:
    """One way to launch: an instance type in a subnet."""

    instance_type: str
    subnet_id: str


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a run owned and that may cost: what it is, its id, and the state it is in."""

    kind: str
    resource_id: str
    state: str


class Fleet(Protocol):
    """EC2, seen through our tags alone."""

    def instances(self, environment: str) -> tuple[Instance, ...]:
        """Every instance with all our owner tags in this environment, also those terminated lately.

        Raises:
            ServiceUnavailable: the list is not complete. Nothing may be concluded.
        """
        ...

    def find(self, environment: str, instance_id: str) -> Instance | None:
        """One instance, if it carries our owner tags for this environment."""
        ...

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> str:
        """Start one instance for this attempt and return its id; repeating the call never starts a second.

        Raises:
            CapacityUnavailable: not here, not now; another option may do.
            LaunchRefused: EC2 will not.
            ServiceUnavailable: no answer; an instance may exist.
        """
        ...

    def terminate(self, instance_id: str) -> None:
        """Ask EC2 to end one instance. Asking again is no error."""
        ...

    def leftovers(self, environment: str, run_id: str | None = None) -> tuple[Resource, ...]:
        """Volumes and network interfaces, beside live instances, that carry our tags."""
        ...


class Notifier(Protocol):
    """SNS."""

    def publish(self, message: Message) -> None:
        """Send a message. Raises ServiceUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Stack:
    """What the deployed stack says about itself (its outputs)."""

    name: str
    region: str
    environment: str
    bucket: str
    project: str
    cost_center: str
    instance_type: str
    subnet_ids: tuple[str, ...]
    launch_template_id: str
    topic_arn: str
    limit_overrides: Mapping[str, float]
