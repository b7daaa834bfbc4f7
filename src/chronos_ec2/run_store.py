"""The locks of runs and the reports of instances in an object store.

Every write of a lock is conditional, and carries its `seq` and a new nonce. If the answer of a conditional write is
lost, or it is refused because a retry of it has already succeeded, reading the object and finding the own nonce settles
it.

An attempt ends in one place, here: before a verdict is written, or a lock without one released, the register in which
the instance could still say otherwise is taken. That is the claim of an attempt that nobody has claimed, else its
outcome.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from chronos_ec2.domain.errors import InvalidDocument, LostRace, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import (
    Absent,
    ClaimRead,
    Found,
    HeartbeatRead,
    HeartbeatReceived,
    LockHeld,
    LockRead,
    OutcomeRead,
    ReadFailed,
    StatusRead,
    Unreadable,
)
from chronos_ec2.domain.parsing.names import is_name, one_line
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane, lanes_prefix
from chronos_ec2.domain.records.reports import Claim, OutcomeReport, StatusReport
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import claim_key, outcome_key, run_key, status_key
from chronos_ec2.domain.records.status import DecidedBy, Verdict
from chronos_ec2.ports import ObjectStore

Report = TypeVar("Report", Claim, StatusReport, OutcomeReport)

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
    """The lock of each run and the reports of its instances in one bucket."""

    def __init__(self, objects: ObjectStore, new_nonce: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self.objects = objects
        self.new_nonce = new_nonce

    def create_lock(self, run: Run) -> LockHeld:
        """Take the lane if it is free.

        Raises:
            LostRace: the lane is held.
            ServiceUnavailable: it may have been taken.
        """
        run = replace(run, seq=1, nonce=self.new_nonce())
        return self._conditionally(run, lambda body: self.objects.create(run.lane.state_key, body))

    def replace_lock(self, run: Run, expected: LockHeld) -> LockHeld:
        """Write `run` with the next `seq` and a new nonce if the lock is still `expected`.

        Raises:
            LostRace: the lock was written or released since, or an instance has claimed or ended the attempt that this
                would end.
            ServiceUnavailable: it may have been written.
            ValueError: a next attempt before the verdict on this one.
        """
        if expected.run.verdict is None:
            if run.attempt != expected.run.attempt:
                raise ValueError(f"attempt {expected.run.attempt} of run {run.run_id} has no verdict")
            if run.verdict is not None:
                self._close(run, run.verdict, launched=expected.run.launched or expected.run.launching is not None)
        run = replace(run, seq=expected.run.seq + 1, nonce=self.new_nonce())
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
            return ReadFailed(str(error), isinstance(error, NotAllowed))
        if found is None:
            return Absent()
        try:
            return LockHeld(Run.from_json(found.body, lane), found.etag, found.written_at)
        except InvalidDocument as error:
            return Unreadable(str(error), found.etag, found.written_at)

    def read_request(self, environment: str, run_id: str) -> Request | None:
        """What was requested of a run; None if that is gone. Raises InvalidDocument, ServiceUnavailable, NotAllowed."""
        found = self.objects.read(run_key(environment, run_id, REQUEST), MAX_REQUEST_BYTES)
        return Request.from_json(found.body) if found else None

    def release_lock(self, held: LockHeld) -> None:
        """Delete the lock if it is still `held`. A lock that is already gone is no error.

        Raises:
            LostRace: the lock was written since, or an instance has claimed the run.
        """
        if held.run.verdict is None and not held.run.claimed:
            self.void(held.run)
        self.remove_lock(held.run.lane, held.etag)

    def remove_lock(self, lane: Lane, etag: str) -> None:
        """Delete a lock, readable or not, if it still has this ETag; else raise LostRace. None is no error."""
        self.objects.remove(lane.state_key, etag)

    def _close(self, run: Run, verdict: Verdict, *, launched: bool) -> None:
        """Take the register in which the instance of a run could still contradict its verdict, if it may have one."""
        if not run.claimed:
            # Without a launch, whoever has claimed it is no instance of it.
            with nullcontext() if launched else suppress(LostRace):
                self.void(run)
        elif verdict.decided_by is DecidedBy.WATCHDOG:
            outcome = OutcomeReport(run.run_id, run.attempt, self.new_nonce(), verdict)
            try:
                self.end(run.lane.environment, outcome)
            except LostRace:
                found = self.read_outcome(run)
                # An unreadable one is nobody's word, and keeps every other out.
                if not (
                    isinstance(found, Unreadable) or (isinstance(found, Found) and found.document.verdict == verdict)
                ):
                    raise

    def void(self, run: Run) -> None:
        """Claim the current attempt for nobody: from now on no instance can.

        Raises:
            LostRace: an instance has claimed it.
            ServiceUnavailable: it may be void.
        """
        try:
            self.claim(run.lane.environment, Claim.of_nobody(run.run_id, run.attempt))
        except LostRace:
            found = self.read_claim(run)
            # No instance recognises an unreadable or a void claim as its own, whoever wrote it.
            if not (isinstance(found, Unreadable) or (isinstance(found, Found) and found.document.void)):
                raise

    def claim(self, environment: str, claim: Claim) -> None:
        """Claim an attempt; harmless to repeat.

        Raises:
            LostRace: somebody else has claimed it, or it is void.
            ServiceUnavailable: it may be claimed.
        """
        self._create_once(claim_key(environment, claim.run_id, claim.attempt), claim.to_json())

    def report(self, environment: str, status: StatusReport) -> None:
        """Overwrite the status of a run. Raises ServiceUnavailable."""
        self.objects.write(status_key(environment, status.run_id), status.to_json())

    def end(self, environment: str, outcome: OutcomeReport) -> None:
        """Write the outcome of an attempt; harmless to repeat.

        Raises:
            LostRace: it has another.
            ServiceUnavailable: it may have been written.
        """
        self._create_once(outcome_key(environment, outcome.run_id, outcome.attempt), outcome.to_json())

    def _create_once(self, key: str, body: bytes) -> None:
        """Create an object. When the answer was lost, or a retry met its own first write, its content tells."""
        try:
            self.objects.create(key, body)
        except (LostRace, ServiceUnavailable):
            found = self.objects.read(key)
            if found is None or found.body != body:
                raise

    def read_claim(self, run: Run) -> ClaimRead:
        """The claim of the current attempt. A failed read is a value too, like those below."""
        key = claim_key(run.lane.environment, run.run_id, run.attempt)
        return self._read_report(key, partial(Claim.from_json, run_id=run.run_id, attempt=run.attempt))

    def read_status(self, run: Run) -> StatusRead:
        """The status of the current attempt; that of an earlier one is unreadable."""
        key = status_key(run.lane.environment, run.run_id)
        return self._read_report(key, partial(StatusReport.from_json, run_id=run.run_id, attempt=run.attempt))

    def read_outcome(self, run: Run) -> OutcomeRead:
        """The outcome of the current attempt."""
        key = outcome_key(run.lane.environment, run.run_id, run.attempt)
        return self._read_report(key, partial(OutcomeReport.from_json, run_id=run.run_id, attempt=run.attempt))

    def _read_report(
        self, key: str, parse: Callable[[bytes], Report]
    ) -> Absent | Unreadable | ReadFailed | Found[Report]:
        try:
            found = self.objects.read(key)
        except (ServiceUnavailable, NotAllowed) as error:
            return ReadFailed(str(error))
        if found is None:
            return Absent()
        try:
            return Found(parse(found.body), found.written_at)
        except InvalidDocument as error:
            return Unreadable(str(error), found.etag, found.written_at)

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
