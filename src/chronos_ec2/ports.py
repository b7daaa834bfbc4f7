"""What the services need from outside, as small protocols. `aws` and `testing` implement each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from chronos_ec2.domain.instance import Instance, InstanceLookup
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.quota import VcpuQuota
from chronos_ec2.domain.records.capacity import LaunchOption, Market
from chronos_ec2.domain.records.run import Run


class Clock(Protocol):
    """AWS time. No decision depends on the clock of a laptop or a training instance."""

    def now(self) -> datetime:
        """The time, aware UTC."""
        ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was read: its body, cut one byte above the limit of the read, and S3's time of the write."""

    body: bytes
    etag: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished multipart upload. Its parts cost money although no list of objects shows them."""

    key: str
    upload_id: str


class ObjectStore(Protocol):
    """One S3 bucket. Every method raises ServiceUnavailable if S3 does not answer; a write may then have happened.

    `create` requires that the key is absent, `replace` and `remove` that it has the ETag; else they raise LostRace.
    ETags are hashes of the content, so they recur with the content.
    """

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        """A document, or None if the key does not exist. A larger one is cut one byte above the limit."""

    def tail(self, key: str, limit: int) -> bytes | None:
        """The last `limit` bytes of an object, or None if the key does not exist."""

    def piece(self, key: str, start: int, limit: int) -> bytes | None:
        """At most `limit` bytes of an object from `start` on, none past its end; None if the key does not exist."""

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Put an object unconditionally."""

    def create(self, key: str, body: bytes) -> str:
        """Put an object where none exists, and return its ETag."""

    def replace(self, key: str, body: bytes, etag: str) -> str:
        """Replace the object that has this ETag, and return the new ETag."""

    def remove(self, key: str, etag: str | None = None) -> None:
        """Delete an object, if an ETag is given only that version. A missing key is no error."""

    def keys(self, prefix: str) -> Iterable[tuple[str, int]]:
        """(key, size in bytes) of every object below a prefix, in key order."""

    def children(self, prefix: str) -> tuple[str, ...]:
        """The names of the non-empty prefixes one level below a prefix, without slashes."""

    def uploads(self, prefix: str) -> Iterable[Upload]:
        """Every unfinished upload below a prefix, including those in progress."""

    def abort(self, upload: Upload) -> None:
        """Discard the parts of an upload. A missing upload is no error."""


@dataclass(frozen=True, slots=True)
class Source:
    """The object that a piece was read from: its ETag, its size in bytes, and the hash given at its upload, if any."""

    etag: str
    size: int
    sha256: str | None = None


class ObjectTransfer(Protocol):
    """Large objects, in parallel parts. Raises ServiceUnavailable. Callbacks may come from any thread."""

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write an object to a file; `on_bytes` gets the size of each piece received."""
        ...

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        """Write a range of bytes of an object, or all of it, to the same place in a file; the object it came from.

        A read of the whole object is checked against S3's checksum, if there is one.
        """
        ...

    def upload(
        self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False, sha256: str | None = None
    ) -> None:
        """Write a file to an object; `on_bytes` gets the size of each piece sent.

        With `expires` the bucket deletes it after two weeks. `sha256` is stored as metadata and comes back with each
        piece, because S3 has no checksum of a piece.
        """
        ...


class LogStreams(Protocol):
    """One log group of CloudWatch Logs."""

    def append(self, stream: str, lines: Sequence[str], at: datetime) -> None:
        """Add non-empty lines to a stream, which is created if needed.

        Raises ServiceUnavailable and NotAllowed; some lines may have been added.
        """
        ...


@dataclass(frozen=True, slots=True)
class Resource:
    """A leftover of a run that may cost money, with its state in EC2."""

    kind: str
    resource_id: str
    state: str

    @property
    def unused(self) -> bool:
        """Whether nothing is attached to it, so nothing else will delete it."""
        return self.state == "available"


class Fleet(Protocol):
    """EC2, limited to what carries our tags, except for `look_up`."""

    def instances(self, environment: str, lane: str | None = None) -> tuple[Instance, ...]:
        """Every instance with all our owner tags in this environment, including those terminated recently.

        `lane` limits them to those with its tag. Not for the main lane, which also has the instances without the tag.

        Raises:
            ServiceUnavailable: the list is incomplete; conclude nothing.
        """
        ...

    def find(self, environment: str, instance_id: str) -> Instance | None:
        """One instance, if it carries our owner tags for this environment."""
        ...

    def look_up(self, environment: str, instance_ids: Collection[str]) -> tuple[InstanceLookup, ...]:
        """Those of these instances that EC2 knows, whatever their tags. Without ids, EC2 is not asked.

        Raises:
            ServiceUnavailable: the answer is incomplete; conclude nothing.
        """
        ...

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> str:
        """Start one instance for this attempt and return its id. Repeating the call never starts a second.

        Raises:
            CapacityUnavailable: not available with this option now; another may work.
            LaunchRefused: EC2 refuses.
            ServiceUnavailable: no answer; an instance may exist.
        """
        ...

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask EC2 to terminate one instance; `force` skips its shutdown. Asking again is no error."""
        ...

    def leftovers(self, environment: str, run_id: str | None = None) -> tuple[Resource, ...]:
        """Volumes, network interfaces and spot requests with our tags that may cost money."""
        ...

    def delete(self, resource: Resource) -> None:
        """Delete an unused leftover. A missing one is no error."""
        ...


class Deadlines(Protocol):
    """EventBridge Scheduler: a one-time schedule per instance that terminates it without our code.

    Every method raises ServiceUnavailable and NotAllowed.
    """

    def schedule(self, instance_id: str, at: datetime) -> None:
        """Schedule the termination of an instance within two minutes after `at`. An existing schedule is kept."""
        ...

    def scheduled(self) -> Mapping[str, datetime]:
        """The ids of the instances that have a schedule, and when each was created, aware UTC."""
        ...

    def cancel(self, instance_id: str) -> None:
        """Delete the schedule of an instance. A missing one is no error."""
        ...


class Prices(Protocol):
    """List prices in USD by region, None where they are not known."""

    def on_demand(self, region: str, instance_type: str) -> float | None:
        """An hour of an instance on demand, with Linux and without its volume."""

    def gib_month(self, region: str) -> float | None:
        """A GiB-month of a gp3 volume."""


class Relauncher(Protocol):
    """Starts instances for the watchdog, which may not start them itself."""

    def relaunch(self, run: Run) -> None:
        """Ask for the instance of a run's current attempt. Raises ServiceUnavailable."""
        ...


class Notifier(Protocol):
    """One SNS topic."""

    def publish(self, message: Message) -> None:
        """Send a message. Raises ServiceUnavailable, NotAllowed."""
        ...


class SubscriptionState(StrEnum):
    """Whether SNS sends a subscription anything."""

    CONFIRMED = "confirmed"
    PENDING = "pending"
    """Nothing until its owner confirms it; SNS deletes it after two days without."""
    GONE = "gone"
    """The stack was deployed with its address, and SNS has no subscription of it, or not any more."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription to one of the stack's topics."""

    topic_arn: str
    protocol: str
    endpoint: str
    state: SubscriptionState


class SetupChecks(Protocol):
    """What may be wrong with a setup although its stack is deployed: the sweep, events, subscriptions, quotas.

    Every method raises ServiceUnavailable and NotAllowed.
    """

    def bucket_sends_events(self) -> bool:
        """Whether the bucket sends its events to EventBridge."""
        ...

    def bucket_region(self) -> str | None:
        """The region of the bucket, or None if S3 does not say."""
        ...

    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions to the stack's topics, also that of the address it was deployed with if it is gone."""
        ...

    def vcpu_quotas(self, instance_types: Collection[str], market: Market) -> tuple[VcpuQuota, ...]:
        """What each instance type needs of the account's quota, for those whose quota AWS tells.

        Raises:
            InvalidInput: EC2 has no such type in the region.
        """
        ...

    def sweep_is_scheduled(self) -> bool:
        """Whether the sweep runs: its schedule exists and is not switched off."""
        ...


class Deployment(Protocol):
    """The CloudFormation stack of one environment."""

    def delete(self) -> None:
        """Delete the stack, except its bucket, and wait for the end.

        Raises:
            NotAllowed, UserError: nothing was deleted, for example because these credentials may not.
            ServiceUnavailable: the deletion failed or took too long; the message has CloudFormation's reason.
        """
        ...

    def unfinished(self) -> str | None:
        """The status of a stack that has no outputs and can only be deleted; None for any other, or none."""
        ...


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack: its status, as CloudFormation names it, and its outputs.

    `stack_id` differs from those of all earlier stacks of the same name.
    """

    name: str
    status: str
    stack_id: str
    region: str
    environment: str
    bucket: str
    project: str
    cost_center: str
    instance_type: str
    volume_gib: int
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
    notification_email: str = ""
