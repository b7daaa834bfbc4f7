"""The agent's side of the lock: claim the run, record its phases, end it. Only the watchdog releases the lock.

Every write reads the lock, checks that the run still belongs to this agent, and writes on condition that the lock has
not changed since. A lost race is normal and retried. A run that belongs to somebody else raises Fenced.

An unreadable lock does not say whose the run is. It is not overwritten, and it does not end a claimed run: the agent
keeps working and sending heartbeats. A phase that could not be written is kept and goes out with the next write that
finds the lock readable. A verdict is retried for ten minutes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from chronos_ec2.domain.errors import ChronosError, Fenced, LostRace, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import DecidedBy, Status, Verdict
from chronos_ec2.ports import Clock
from chronos_ec2.run_store import RunStore
from chronos_ec2.worker.errors import EndedByWatchdog

_log = logging.getLogger(__name__)
CLAIMED = "claimed"
_MAX_LOST_RACES = 25
_BACKOFF = (1, 2, 4, 8, 15, *[30] * 19)
"""Seconds. They add up to the ten minutes after which an agent without heartbeats fences itself anyway."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this agent runs on, and for which attempt it was started, if it was told.

    `instance_type` comes from the instance: the lock may still name a type that had no capacity.
    """

    environment: str
    run_id: str
    instance_id: str
    boot_id: str
    attempt: int | None = None
    instance_type: str | None = None


class _LockUnreadable(ServiceUnavailable):
    """The lock cannot be read, so it must not be overwritten, but nothing says that the run was lost either."""


class _PhaseOver(ChronosError):
    """A step was recorded after its phase ended."""


class RunLock:
    """The lock of one run, from its agent's side."""

    def __init__(
        self, store: RunStore, clock: Clock, lane: Lane, identity: Identity, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._store = store
        self._clock = clock
        self._lane = lane
        self._identity = identity
        self._sleep = sleep
        self._run: Run | None = None
        self._claim_sent = False

    @property
    def run(self) -> Run:
        """The run as this agent last wrote it. Raises RuntimeError before the claim."""
        if self._run is None:
            raise RuntimeError("not claimed")
        return self._run

    def claim(self) -> Run:
        """Take the run. Nothing else may be touched before.

        Raises:
            Fenced: the run is not, or no longer, this instance's to take.
            ServiceUnavailable: S3 did not answer for ten minutes.
        """

        def take(run: Run) -> Run:
            if not run.claimed:
                self._claim_sent = True
                # The instance is here: a suspicion that it is missing would count as the first of two observations.
                claimed = replace(
                    run,
                    instance_id=self._identity.instance_id,
                    instance_type=self._identity.instance_type or run.instance_type,
                    # Its launcher may have died before it could say so: the option was recorded before the launch.
                    launched_at=run.launched_at or (run.launching.since if run.launching else run.updated_at),
                    suspect=None,
                    waiting=None,
                )
                return claimed.advance(Status.INITIALIZATION, CLAIMED, self._clock.now())
            # The response to our own claim was lost: write it again.
            if self._claim_sent and (run.status, run.current_step) == (Status.INITIALIZATION, CLAIMED):
                return run
            raise Fenced(f"run {run.run_id} is in {run.status} ({run.current_step}): another agent claimed it")

        return self._write(take, _BACKOFF)

    def advance(self, status: Status, step: str) -> Run:
        """Move the run into a phase, in memory only while the lock is unreadable. Raises Fenced, ServiceUnavailable."""
        try:
            return self._write(lambda run: run.advance(status, step, self._clock.now()), _BACKOFF, retry=False)
        except _LockUnreadable as error:
            _log.warning("%s will be recorded later: %s", status, error)
            self._run = self.run.advance(status, step, self._clock.now())
            return self._run

    def record_step(self, step: str) -> None:
        """Record a step within the current phase, for people to read. Tried once, and dropped if S3 does not answer.

        It is also dropped if the phase has ended meanwhile: a thread may have been left behind with it.

        Raises:
            Fenced: the run no longer belongs to this agent.
        """
        phase = self.run.status

        def with_step(run: Run) -> Run:
            if run.status is not phase:
                raise _PhaseOver(f"the run is in {run.status}")
            return run.advance(phase, step, self._clock.now())

        try:
            self._write(with_step, ())
        except Fenced:
            raise
        except ChronosError as error:
            _log.warning("step %s not recorded: %s", step, error)

    def finish(self, verdict: Verdict) -> Run:
        """Write the verdict; an earlier verdict of this agent is kept. Raises Fenced, ServiceUnavailable."""
        return self._write(lambda run: run.end(verdict, self._clock.now()), _BACKOFF)

    def read(self) -> Run | None:
        """The run as the lock has it now, or None if the lock cannot be read.

        Raises:
            Fenced: the run no longer belongs to this agent.
        """
        match self._store.read_lock(self._lane):
            case LockHeld() as held:
                self._check(held.run)
                return held.run
            case Absent():
                raise Fenced(f"the lock of {self._lane} is gone")
            case Unreadable(problem) | ReadFailed(problem):
                _log.warning("lock not read: %s", problem)
                return None

    def _write(self, change: Callable[[Run], Run], backoff: tuple[int, ...], *, retry: bool = True) -> Run:
        """Write the changed run. An unreadable lock is retried only with `retry`."""
        lost_races = 0
        delays = iter(backoff)
        while True:
            try:
                held = self._owned()
                run = held.run if self._run is None else held.run.with_phases_from(self._run)
                written = self._store.replace_lock(change(run), held)
            except LostRace:
                lost_races += 1
                if lost_races > _MAX_LOST_RACES:
                    raise
            except ServiceUnavailable as error:
                delay = next(delays, None)
                if delay is None or (isinstance(error, _LockUnreadable) and not retry):
                    raise
                _log.warning("lock not written, retrying in %s s: %s", delay, error)
                self._sleep(delay)
            else:
                # Two threads may get here in another order than they wrote.
                if self._run is None or written.run.seq > self._run.seq:
                    self._run = written.run
                return written.run

    def _owned(self) -> LockHeld:
        match self._store.read_lock(self._lane):
            case LockHeld() as held:
                self._check(held.run)
                return held
            case Absent():
                raise Fenced(f"{self._lane} has no lock")
            case Unreadable(problem):
                # It may be somebody else's: do not overwrite it.
                text = f"{self._lane} has an unreadable lock: {problem}"
                raise Fenced(text) if self._run is None else _LockUnreadable(text)
            case ReadFailed(problem):
                raise ServiceUnavailable(problem)

    def _check(self, run: Run) -> None:
        me = self._identity
        if run.run_id != me.run_id:
            raise Fenced(f"{self._lane} is held by run {run.run_id}")
        if run.instance_id not in (None, me.instance_id):
            raise Fenced(f"run {run.run_id} belongs to instance {run.instance_id}")
        if me.attempt is not None and run.attempt != me.attempt:
            raise Fenced(f"run {run.run_id} is at attempt {run.attempt}, this is attempt {me.attempt}")
        if self._run is None:
            if run.verdict is not None:
                raise Fenced(f"run {run.run_id} has ended: {run.verdict.message}")
        elif run.attempt != self._run.attempt or not run.claimed:
            raise Fenced(f"run {run.run_id} moved on to another attempt")
        if run.verdict is not None and run.verdict.decided_by is DecidedBy.WATCHDOG:
            raise EndedByWatchdog(f"ended by the watchdog: {run.verdict.message}")
