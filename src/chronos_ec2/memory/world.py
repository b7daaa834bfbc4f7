"""A small AWS in memory: one bucket, one EC2, one topic, one clock that only moves when told to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from chronos_ec2.domain.errors import CapacityUnavailable, LostRace
from chronos_ec2.domain.instance import Instance, InstanceState, Sighting, owner_tags, read_tags, run_tags
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.run import Run, client_token
from chronos_ec2.domain.text import MAX_DOCUMENT_BYTES
from chronos_ec2.memory.faults import Faults, NoFaults
from chronos_ec2.ports import Clock, LaunchOption, Resource, Source, StoredObject, Upload


class MemoryClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """The virtual time, aware UTC."""
        return self._now

    def advance(self, span: timedelta) -> None:
        """Move the virtual time forward."""
        self._now += span


class MemoryObjects:
    """One bucket. An ETag is a hash of the content, as S3's is, so it recurs when the content does."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock = clock
        self._faults = faults
        self._objects: dict[str, StoredObject] = {}
        self._upload_ids = count(1)
        self.begun: dict[Upload, datetime] = {}
        """The uploads in parts that nobody has ended, and when each was begun."""

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        """A document, None when the key does not exist; of a larger one just so much that its size shows."""
        self._faults.before("s3:GetObject")
        found = self._objects.get(key)
        if found is not None and len(found.body) > limit:
            found = replace(found, body=found.body[: limit + 1])
        self._faults.after("s3:GetObject")
        return found

    def tail(self, key: str, limit: int) -> bytes | None:
        """The last `limit` bytes of an object, or all of it; None when the key does not exist."""
        self._faults.before("s3:GetObject")
        found = self._objects.get(key)
        self._faults.after("s3:GetObject")
        return None if found is None else found.body[-limit:]

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Put an object, whatever is there."""
        del content_type
        self._faults.before("s3:PutObject")
        self._put(key, body)
        self._faults.after("s3:PutObject")

    def create(self, key: str, body: bytes) -> str:
        """Put an object where none is; its ETag."""
        return self._put_if(key, body, None)

    def replace(self, key: str, body: bytes, etag: str) -> str:
        """Put an object in place of the one with this ETag; the new ETag."""
        return self._put_if(key, body, etag)

    def _put_if(self, key: str, body: bytes, etag: str | None) -> str:
        self._faults.before("s3:PutObject")
        found = self._objects.get(key)
        if (None if found is None else found.etag) != etag:
            raise LostRace(f"{key} was written by somebody else")
        new = self._put(key, body)
        self._faults.after("s3:PutObject")
        return new

    def _put(self, key: str, body: bytes) -> str:
        # S3 keeps whole seconds.
        new = StoredObject(bytes(body), _etag(body), self._clock.now().replace(microsecond=0))
        self._objects[key] = new
        return new.etag

    def remove(self, key: str, etag: str | None = None) -> None:
        """Delete an object, with an ETag only that one. A missing key is no error."""
        self._faults.before("s3:DeleteObject")
        found = self._objects.get(key)
        if found is not None and etag not in (None, found.etag):
            raise LostRace(f"{key} was written by somebody else")
        self._objects.pop(key, None)
        self._faults.after("s3:DeleteObject")

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, bytes) of every object below a prefix, in key order."""
        self._faults.before("s3:ListBucket")
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield key, len(self._objects[key].body)

    def children(self, prefix: str) -> tuple[str, ...]:
        """The names one level below a prefix that hold something, without slashes."""
        self._faults.before("s3:ListBucket")
        rests = [key[len(prefix) :] for key in self._objects if key.startswith(prefix)]
        return tuple(sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest}))

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Every upload below a prefix that is not ended."""
        self._faults.before("s3:ListBucketMultipartUploads")
        yield from [upload for upload in self.begun if upload.key.startswith(prefix)]

    def abort(self, upload: Upload) -> None:
        """Throw an upload's parts away. One that is gone is no error."""
        self._faults.before("s3:AbortMultipartUpload")
        self.begun.pop(upload, None)
        self._faults.after("s3:AbortMultipartUpload")

    def begin(self, key: str) -> Upload:
        """Begin an upload in parts, as somebody does who will not end it."""
        upload = Upload(key, f"upload-{next(self._upload_ids)}")
        self.begun[upload] = self._clock.now()
        return upload

    def body(self, key: str) -> bytes:
        """The whole content of an object, for transfers and assertions. Raises KeyError."""
        return self._objects[key].body


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


class MemoryTransfer:
    """Files to and from a MemoryObjects."""

    def __init__(self, objects: MemoryObjects) -> None:
        self._objects = objects
        self.expiring: set[str] = set()
        """The keys that the bucket forgets after a while."""
        self._hashes: dict[str, tuple[str, str | None]] = {}

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write an object to a file."""
        body = self._objects.body(key)
        path.write_bytes(body)
        on_bytes(len(body))

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        """Write some bytes of an object, or all, to the same place in a file."""
        body = self._objects.body(key)
        wanted = range(len(body)) if piece is None else piece
        path.touch()
        with path.open("r+b") as stream:
            stream.seek(wanted.start)
            written = stream.write(body[wanted.start : wanted.stop])
        on_bytes(written)
        etag, sha256 = self._hashes.get(key, ("", None))
        # Who writes an object anew without saying a hash takes the old one away.
        return Source(_etag(body), len(body), sha256 if etag == _etag(body) else None)

    def upload(
        self,
        path: Path,
        key: str,
        on_bytes: Callable[[int], None],
        *,
        expires: bool = False,
        sha256: str | None = None,
    ) -> None:
        """Write a file to an object."""
        body = path.read_bytes()
        self._objects.write(key, body)
        self._hashes[key] = (_etag(body), sha256)
        if expires:
            self.expiring.add(key)
        on_bytes(len(body))


@dataclass(slots=True)
class _Box:
    instance: Instance
    owned_in: str | None
    """The environment of which it carries all our owner tags."""


@dataclass
class MemoryFleet:
    """EC2. An instance is running at once; `terminate` ends it at once, unless `slow_to_die`, when it takes force."""

    clock: Clock
    faults: Faults = field(default_factory=NoFaults)
    project: str = "Chronos-Training"
    cost_center: str = "train"
    slow_to_die: bool = False
    no_capacity: set[str] = field(default_factory=set)
    """Subnets or instance types for which there is no capacity."""
    terminate_calls: list[str] = field(default_factory=list)
    user_data: dict[str, str] = field(default_factory=dict)
    left: dict[Resource, str | None] = field(default_factory=dict)
    """Volumes and interfaces that outlived their instance, and the run that owned each."""
    _boxes: dict[str, _Box] = field(default_factory=dict)
    _by_token: dict[str, str] = field(default_factory=dict)

    def instances(self, environment: str, lane: str | None = None) -> tuple[Instance, ...]:
        """Every instance with all our owner tags in this environment, with a lane those whose tag names it."""
        self.faults.before("ec2:DescribeInstances")
        found = self._ours(environment)
        self.faults.after("ec2:DescribeInstances")
        return tuple(box for box in found if lane is None or (box.lane and box.lane.name == lane))

    def _ours(self, environment: str) -> tuple[Instance, ...]:
        return tuple([box.instance for box in self._boxes.values() if box.owned_in == environment])

    def find(self, environment: str, instance_id: str) -> Instance | None:
        """One instance, if it carries our owner tags for this environment."""
        return next((found for found in self.instances(environment) if found.instance_id == instance_id), None)

    def look_up(self, environment: str, instance_ids: Collection[str]) -> tuple[Sighting, ...]:
        """Those of these instances that are there, whatever tags they carry."""
        if not instance_ids:
            return ()
        self.faults.before("ec2:DescribeInstances")
        found = tuple(
            Sighting(box.instance.instance_id, box.instance.state, box.owned_in == environment)
            for box in self._boxes.values()
            if box.instance.instance_id in instance_ids
        )
        self.faults.after("ec2:DescribeInstances")
        return found

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> str:
        """Start one instance for this attempt and return its id; repeating the call never starts a second."""
        self.faults.before("ec2:RunInstances")
        token = client_token(run, option.instance_type, option.subnet_id, option.market)
        if token not in self._by_token:
            if self.no_capacity & {option.instance_type, option.subnet_id}:
                raise CapacityUnavailable(f"no {option.instance_type} in {option.subnet_id}")
            instance_id = self.add(run_tags(run, self.project, self.cost_center), option.instance_type)
            self._by_token[token] = instance_id
            self.user_data[instance_id] = user_data
        self.faults.after("ec2:RunInstances")
        return self._by_token[token]

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask EC2 to end one instance."""
        self.faults.before("ec2:TerminateInstances")
        self.terminate_calls.append(instance_id)
        if instance_id in self._boxes:
            slow = self.slow_to_die and not force
            self.move(instance_id, InstanceState.SHUTTING_DOWN if slow else InstanceState.TERMINATED)
        self.faults.after("ec2:TerminateInstances")

    def leftovers(self, environment: str, run_id: str | None = None) -> tuple[Resource, ...]:
        """The volume of each living instance, and what a test left behind; a terminated instance takes its volume."""
        self.faults.before("ec2:DescribeVolumes")
        volumes = [
            Resource("volume", f"vol-{found.instance_id[2:]}", "in-use")
            for found in self._ours(environment)
            if found.alive and run_id in (None, found.run_id)
        ]
        return (*volumes, *(left for left, owner in self.left.items() if run_id in (None, owner)))

    def delete(self, resource: Resource) -> None:
        """Delete a leftover that nothing uses any more."""
        self.faults.before("ec2:DeleteVolume")
        self.left.pop(resource, None)
        self.faults.after("ec2:DeleteVolume")

    # What a test does to EC2 from outside.

    def add(self, tags: dict[str, str], instance_type: str = "g4dn.2xlarge") -> str:
        """Start an instance with these tags and return its id."""
        instance_id = f"i-{len(self._boxes) + 1:017x}"
        lane, run_id, attempt, deadline, hold = read_tags(tags)
        instance = Instance(
            instance_id, InstanceState.RUNNING, self.clock.now(), instance_type, lane, run_id, attempt, deadline, hold
        )
        environment = tags.get("Environment", "")
        ours = owner_tags(self.project, environment).items() <= tags.items()
        self._boxes[instance_id] = _Box(instance, environment if ours else None)
        return instance_id

    def move(self, instance_id: str, state: InstanceState) -> None:
        """Bring an instance into another state."""
        box = self._boxes[instance_id]
        box.instance = replace(box.instance, state=state)

    def untag(self, instance_id: str) -> None:
        """Take our owner tags off an instance."""
        self._boxes[instance_id].owned_in = None

    def forget(self, instance_id: str) -> None:
        """Take an instance out of EC2's list, as happens about an hour after its end."""
        del self._boxes[instance_id]


class MemoryDeadlines:
    """Schedules that are kept, and fire when whoever holds the clock makes them."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock = clock
        self._faults = faults
        self._made: dict[str, datetime] = {}
        self.schedules: dict[str, datetime] = {}
        """When each fires, by instance id."""

    def arm(self, instance_id: str, at: datetime) -> None:
        """Keep a schedule, unless there is one."""
        self._faults.before("scheduler:CreateSchedule")
        if instance_id not in self.schedules:
            self.schedules[instance_id], self._made[instance_id] = at, self._clock.now()
        self._faults.after("scheduler:CreateSchedule")

    def armed(self) -> dict[str, datetime]:
        """The ids of all instances that have a schedule, and when each was made."""
        self._faults.before("scheduler:ListSchedules")
        armed = {instance_id: self._made[instance_id] for instance_id in self.schedules}
        self._faults.after("scheduler:ListSchedules")
        return armed

    def disarm(self, instance_id: str) -> None:
        """Forget a schedule."""
        self._faults.before("scheduler:DeleteSchedule")
        self.schedules.pop(instance_id, None)
        self._faults.after("scheduler:DeleteSchedule")


class MemoryNotifier:
    """A topic that keeps what was published."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.messages: list[Message] = []

    def publish(self, message: Message) -> None:
        """Keep a message."""
        self._faults.before("sns:Publish")
        self.messages.append(message)
        self._faults.after("sns:Publish")


class MemoryStreams:
    """A log group that keeps its lines."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.lines: dict[str, list[tuple[datetime, str]]] = {}

    def append(self, stream: str, lines: Sequence[str], at: datetime) -> None:
        """Add lines to a stream."""
        self._faults.before("logs:PutLogEvents")
        self.lines.setdefault(stream, []).extend((at, line) for line in lines)
        self._faults.after("logs:PutLogEvents")


class MemoryWiring:
    """A bucket that tells, and subscriptions that are as a test makes them."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.tells = True
        self.region: str | None = None
        self.pending: list[str] = []

    def bucket_tells(self) -> bool:
        """Whether the bucket tells EventBridge of its objects."""
        self._faults.before("s3:GetBucketNotification")
        return self.tells

    def bucket_region(self) -> str | None:
        """The region that the bucket lies in; None when S3 does not say."""
        self._faults.before("s3:HeadBucket")
        return self.region

    def unconfirmed(self) -> tuple[str, ...]:
        """The subscriptions to which SNS sends nothing yet: protocol, endpoint and topic of each."""
        self._faults.before("sns:ListSubscriptionsByTopic")
        return tuple(self.pending)


class MemoryWorld:
    """All of it together."""

    def __init__(self, faults: Faults | None = None, clock: MemoryClock | None = None) -> None:
        faults = faults or NoFaults()
        self.clock = clock or MemoryClock()
        self.objects = MemoryObjects(self.clock, faults)
        self.transfer = MemoryTransfer(self.objects)
        self.fleet = MemoryFleet(self.clock, faults)
        self.deadlines = MemoryDeadlines(self.clock, faults)
        self.notifier = MemoryNotifier(faults)
        self.streams = MemoryStreams(faults)
        self.wiring = MemoryWiring(faults)
