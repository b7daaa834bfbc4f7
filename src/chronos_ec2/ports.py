"""What the services need from the world, as small protocols. `aws/` and `memory/` implement each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from chronos_ec2.domain.instance import Instance, InstanceLookup
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.request import ON_DEMAND, Market
from chronos_ec2.domain.records.run import Run


class Clock(Protocol):
    """AWS time. The clock of a laptop or of a training box is never judged by."""

    def now(self) -> datetime:
        """The time, aware UTC."""
        ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was read: no more than one byte above the limit of the read, and S3's time of its writing."""

    body: bytes
    etag: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that was begun and not ended: its parts are paid for, though no list of objects shows them."""

    key: str
    upload_id: str


class ObjectStore(Protocol):
    """S3, one bucket. Every method raises ServiceUnavailable when S3 does not answer; a write may then have happened.

    Conditions: `create` needs the key to be absent, `replace` and `remove` need it to have the ETag; a condition that
    does not hold is LostRace. ETags are hashes of the content, so they recur when the content does.
    """

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        """A document, None when the key does not exist; of a larger one just so much that its size shows."""
        ...

    def tail(self, key: str, limit: int) -> bytes | None:
        """The last `limit` bytes of an object, or all of it; None when the key does not exist."""
        ...

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Put an object, whatever is there."""
        ...

    def create(self, key: str, body: bytes) -> str:
        """Put an object where none is; its ETag."""
        ...

    def replace(self, key: str, body: bytes, etag: str) -> str:
        """Put an object in place of the one with this ETag; the new ETag."""
        ...

    def remove(self, key: str, etag: str | None = None) -> None:
        """Delete an object, with an ETag only that one. A missing key is no error."""
        ...

    def keys(self, prefix: str) -> Iterable[tuple[str, int]]:
        """(key, bytes) of every object below a prefix, in key order."""
        ...

    def children(self, prefix: str) -> tuple[str, ...]:
        """The names one level below a prefix that hold something, without slashes."""
        ...

    def uploads(self, prefix: str) -> Iterable[Upload]:
        """Every upload below a prefix that is not ended, also one that goes on."""
        ...

    def abort(self, upload: Upload) -> None:
        """Throw an upload's parts away. One that is gone is no error."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where a piece came from: the object as it was when the piece was read, its size, and the hash it came with.

    `sha256` is what who uploaded it said of all of it; None when nobody did.
    """

    etag: str
    size: int
    sha256: str | None = None


class ObjectTransfer(Protocol):
    """Large objects, in parallel parts. Raises ServiceUnavailable."""

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write an object to a file; `on_bytes` hears of every piece that arrived, from any thread."""
        ...

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        """Write some bytes of an object to the same place in a file, without a piece all of it; what they came from.

        An object that is read in one go is checked against the checksum that S3 keeps of it, if it keeps one.
        """
        ...

    def upload(
        self,
        path: Path,
        key: str,
        on_bytes: Callable[[int], None],
        *,
        expires: bool = False,
        sha256: str | None = None,
    ) -> None:
        """Write a file to an object; `on_bytes` hears of every piece that left, from any thread.

        With `expires` it carries the tag by which the bucket forgets it after two weeks. Its `sha256` comes with each
        of its pieces: a piece alone has no checksum of S3's.
        """
        ...


class LogStreams(Protocol):
    """CloudWatch Logs, one log group."""

    def append(self, stream: str, lines: Sequence[str], at: datetime) -> None:
        """Add lines, none of them empty, to a stream, which is made if it is not there.

        Raises ServiceUnavailable and NotAllowed; some of the lines may then have been added.
        """
        ...


@dataclass(frozen=True, slots=True)
class LaunchOption:
    """One way to launch: an instance type in a subnet, bought on demand or from EC2's spare capacity."""

    instance_type: str
    subnet_id: str
    market: Market = ON_DEMAND


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a run owned and that may cost: what it is, its id, and the state it is in."""

    kind: str
    resource_id: str
    state: str

    @property
    def unused(self) -> bool:
        """Whether nothing holds it: it costs, and nobody will free it."""
        return self.state == "available"


class Fleet(Protocol):
    """EC2, seen through our tags alone, but for `look_up`."""

    def instances(self, environment: str, lane: str | None = None) -> tuple[Instance, ...]:
        """Every instance with all our owner tags in this environment, also those terminated lately.

        With the name of a lane those alone whose tag says so; not for the main lane, to which those without belong.

        Raises:
            ServiceUnavailable: the list is not complete. Nothing may be concluded.
        """
        ...

    def find(self, environment: str, instance_id: str) -> Instance | None:
        """One instance, if it carries our owner tags for this environment."""
        ...

    def look_up(self, environment: str, instance_ids: Collection[str]) -> tuple[InstanceLookup, ...]:
        """Those of these instances that EC2 knows, whatever tags they carry; without ids nothing is asked.

        Raises:
            ServiceUnavailable: the answer is not complete. Nothing may be concluded.
        """
        ...

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> str:
        """Start one instance for this attempt and return its id; repeating the call never starts a second.

        Raises:
            CapacityUnavailable: not here, not now; another option may do.
            LaunchRefused: EC2 will not.
            ServiceUnavailable: no answer; an instance may exist.
        """
        ...

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask EC2 to end one instance, by force without its shutdown. Asking again is no error."""
        ...

    def leftovers(self, environment: str, run_id: str | None = None) -> tuple[Resource, ...]:
        """Volumes, network interfaces and spot requests that carry our tags, and may cost."""
        ...

    def delete(self, resource: Resource) -> None:
        """Delete a leftover that nothing uses any more. Deleting what is gone is no error."""
        ...


class Deadlines(Protocol):
    """EventBridge Scheduler: one one-time schedule for each instance, which ends it without any code of ours.

    Every method raises ServiceUnavailable and NotAllowed.
    """

    def schedule(self, instance_id: str, at: datetime) -> None:
        """Have EC2 asked to terminate an instance within two minutes after `at`. Arming it again changes nothing."""
        ...

    def scheduled(self) -> Mapping[str, datetime]:
        """The ids of all instances that have a schedule, and when each was made, aware UTC."""
        ...

    def cancel(self, instance_id: str) -> None:
        """Delete the schedule of an instance. A missing one is no error."""
        ...


class Relauncher(Protocol):
    """Whoever may start instances: the watchdog may not."""

    def relaunch(self, run: Run) -> None:
        """Have an instance started for the current attempt of a run. Raises ServiceUnavailable."""
        ...


class Notifier(Protocol):
    """SNS."""

    def publish(self, message: Message) -> None:
        """Send a message. Raises ServiceUnavailable, NotAllowed."""
        ...


class SetupChecks(Protocol):
    """What others have to do for the stack: a bucket to tell of its objects, people to confirm that they want to hear.

    Every method raises ServiceUnavailable and NotAllowed.
    """

    def bucket_sends_events(self) -> bool:
        """Whether the bucket tells EventBridge of its objects."""
        ...

    def bucket_region(self) -> str | None:
        """The region that the bucket lies in; None when S3 does not say."""
        ...

    def unconfirmed_subscriptions(self) -> tuple[str, ...]:
        """The subscriptions to which SNS sends nothing yet: protocol, endpoint and topic of each."""
        ...


class Deployment(Protocol):
    """CloudFormation: the stack of one environment."""

    def delete(self) -> None:
        """Delete all that the stack made but the bucket, and wait for it.

        Raises:
            NotAllowed: CloudFormation, or a resource, may not be touched with these credentials.
            ServiceUnavailable: it did not end well, or not in time; what it said is in the message.
        """
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
    packages_in_image: bool
    agent_log_group: str | None
    subnet_ids: tuple[str, ...]
    launch_template_id: str
    instance_profile_arn: str
    topic_arn: str
    alarm_topic_arn: str
    deadline_group: str
    deadline_role_arn: str
    limit_overrides: Mapping[str, float]
