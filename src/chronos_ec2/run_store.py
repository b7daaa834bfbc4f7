"""The locks and heartbeats of runs in an object store. Every write of a lock is conditional.

Every write carries its `seq` and a new nonce. If the answer of a conditional write is lost, or it is refused because a
retry of it has already succeeded, reading the lock and finding both settles it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from chronos_ec2.domain.errors import InvalidDocument, LostRace, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import (
    Absent,
    HeartbeatRead,
    HeartbeatReceived,
    LockHeld,
    LockRead,
    ReadFailed,
    Unreadable,
)
from chronos_ec2.domain.parsing.names import is_name, one_line
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane, lanes_prefix
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.ports import ObjectStore

HEARTBEAT = "heartbeat.json"
_NAMED = 5
"""How many unknown prefixes a warning names: anyone who may write locks can create thousands."""


@dataclass(frozen=True, slots=True)
class LaneList:
    """The prefixes below that of an environment's lanes, and whether there are more than these."""

    environment: str
    names: tuple[str, ...]
    more: bool = False

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The main lane, and every other that has a prefix."""
        others = (Lane(self.environment, name) for name in self.names if _names_lane(name))
        return (Lane(self.environment), *others)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The prefixes that cannot name a lane."""
        prefix = lanes_prefix(self.environment)
        return tuple(f"{prefix}{name}/" for name in self.names if not _names_lane(name))

    @property
    def warning(self) -> str:
        """A warning about the unknown prefixes, empty if there are none."""
        named = ", ".join(one_line(prefix, 80) for prefix in self.unknown[:_NAMED])
        more = f" and {len(self.unknown) - _NAMED} more" if len(self.unknown) > _NAMED else ""
        return f"{named}{more}: not the lock of a lane, so nothing checks it; move it elsewhere" if named else ""


def _names_lane(name: str) -> bool:
    return name != MAIN_LANE and is_name(name)


class RunStore:
    """The lock and the heartbeat of each run in one bucket."""

    def __init__(self, objects: ObjectStore, new_nonce: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self.objects = objects
        self._new_nonce = new_nonce

    def create_lock(self, run: Run) -> LockHeld:
        """Take the lane if it is free.

        Raises:
            LostRace: the lane is held.
            ServiceUnavailable: it may have been taken.
        """
        run = replace(run, seq=1, nonce=self._new_nonce())
        return self._conditionally(run, lambda body: self.objects.create(run.lane.state_key, body))

    def replace_lock(self, run: Run, expected: LockHeld) -> LockHeld:
        """Write `run` with the next `seq` and a new nonce if the lock is still `expected`.

        Raises:
            LostRace: the lock was written or released since.
            ServiceUnavailable: it may have been written.
        """
        run = replace(run, seq=expected.run.seq + 1, nonce=self._new_nonce())
        return self._conditionally(run, lambda body: self.objects.replace(run.lane.state_key, body, expected.etag))

    def _conditionally(self, run: Run, write: Callable[[bytes], str]) -> LockHeld:
        try:
            etag = write(run.to_json())
        except (LostRace, ServiceUnavailable):
            found = self.read_lock(run.lane)
            if isinstance(found, LockHeld) and (found.run.seq, found.run.nonce) == (run.seq, run.nonce):
                return found
            raise
        return LockHeld(run, etag, run.updated_at)

    def read_lock(self, lane: Lane) -> LockRead:
        """The lock of a lane. A failed read is a value too."""
        try:
            found = self.objects.read(lane.state_key)
        except (ServiceUnavailable, NotAllowed) as error:
            return ReadFailed(str(error))
        if found is None:
            return Absent()
        try:
            return LockHeld(Run.from_json(found.body, lane), found.etag, found.written_at)
        except InvalidDocument as error:
            return Unreadable(str(error), found.etag, found.written_at)

    def release_lock(self, lane: Lane, etag: str) -> None:
        """Delete the lock if it still has this ETag. A lock that is already gone is no error.

        Raises:
            LostRace: the lock was written since.
        """
        self.objects.remove(lane.state_key, etag)

    def lanes(self, environment: str) -> tuple[Lane, ...]:
        """The main lane, and every other lane that has a lock."""
        return self.list_lanes(environment).lanes

    def list_lanes(self, environment: str, after: str = "", limit: int | None = None) -> LaneList:
        """The lanes, by default all of them, else so many after this one. Raises ServiceUnavailable, NotAllowed."""
        found = self.objects.children(lanes_prefix(environment), after, None if limit is None else limit + 1)
        return LaneList(environment, found[:limit], more=limit is not None and len(found) > limit)

    def write_heartbeat(self, environment: str, heartbeat: Heartbeat) -> None:
        """Overwrite the heartbeat of a run. Raises ServiceUnavailable."""
        self.objects.write(run_key(environment, heartbeat.run_id, HEARTBEAT), heartbeat.to_json())

    def read_heartbeat(self, environment: str, run_id: str) -> HeartbeatRead:
        """The latest heartbeat of a run. A failed read is a value too."""
        try:
            found = self.objects.read(run_key(environment, run_id, HEARTBEAT))
        except (ServiceUnavailable, NotAllowed) as error:
            return ReadFailed(str(error))
        if found is None:
            return Absent()
        try:
            return HeartbeatReceived(Heartbeat.from_json(found.body), found.etag, found.written_at)
        except InvalidDocument as error:
            return Unreadable(str(error), found.etag, found.written_at)
