"""The agent's hand on the lock: claim it, move it on, end it. It never releases it: that is the watchdog's.

Every write is: read the lock again, see that it is still ours, change it, write it on the condition that nobody wrote
since. A lost race is normal and tried again; a lock that is not ours any more is Fenced.

A lock that cannot be read is no news of whose it is: it is not overwritten, and it ends no run that was claimed. Its
agent works and beats on. A phase that could not be written is kept, and written with the next write that finds the lock
readable again; a verdict is tried for ten minutes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from chronos_ec2.domain.errors import ChronosError, Fenced, LostRace, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import LAUNCHING, Run
from chronos_ec2.domain.records.status import DecidedBy, Status, Verdict
from chronos_ec2.ports import Clock
from chronos_ec2.run_store import RunStore
from chronos_ec2.worker.errors import EndedByWatchdog, LateStep

_log = logging.getLogger(__name__)
CLAIMED = "claimed"
_RACES = 25
_BACKOFF = (1, 2, 4, 8, 15, *[30] * 19)
"""Seconds; together the ten minutes after which a silent agent fences itself anyway."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this agent is. `attempt` is None when whoever started it did not say for which attempt.

    `instance_type` is what the instance says that it is: what the lock says may be another, which was tried before.
    """

    environment: str
    run_id: str
    instance_id: str
    boot_id: str
    attempt: int | None = None
    instance_type: str | None = None


class _LockUnreadable(ServiceUnavailable):
    """Nothing can be written as long as somebody else's garbage lies there; nothing says either that we lost it."""


class Record:
    """The lock of one run, as its agent sees it. `run` is the run as it was last read or written."""

    def __init__(
        self, store: RunStore, clock: Clock, lane: Lane, identity: Identity, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._store = store
        self._clock = clock
        self._lane = lane
        self._identity = identity
        self._sleep = sleep
        self._run: Run | None = None
        self._asked_before = False

    @property
    def run(self) -> Run:
        """The run as it was last written by us. Raises RuntimeError before the claim."""
        if self._run is None:
            raise RuntimeError("not claimed")
        return self._run

    def claim(self) -> Run:
        """Take the run, before anything else is touched.

        Raises:
            Fenced: it is not, or not any more, this instance's to take.
            ServiceUnavailable: S3 did not answer for ten minutes.
        """

        def take(run: Run) -> Run:
            if not run.claimed:
                self._asked_before = True
                # Whoever was missed is here: a suspicion that stayed would be the first of two looks at an absence.
                claimed = replace(run, instance_id=self._identity.instance_id, suspect=None)
                return claimed.advance(Status.INITIALIZATION, CLAIMED, self._clock.now())
            # An answer that got lost: our own claim has succeeded, and is only written again.
            if self._asked_before and (run.status, run.current_step) == (Status.INITIALIZATION, CLAIMED):
                return run
            raise Fenced(f"run {run.run_id} is in {run.status} ({run.current_step}): another agent took it")

        return self._write(take, _BACKOFF)

    def advance(self, status: Status, step: str) -> Run:
        """Move the run into a phase, if need be for this agent alone. Raises Fenced, ServiceUnavailable."""
        try:
            return self._write(lambda run: run.advance(status, step, self._clock.now()), _BACKOFF, waits=False)
        except _LockUnreadable as error:
            _log.warning("%s is recorded later: %s", status, error)
            self._run = self.run.advance(status, step, self._clock.now())
            return self._run

    def note(self, step: str) -> None:
        """Write a finer step of the same phase, for people: tried once, and forgotten when S3 does not answer.

        Also forgotten when the phase is over by the time that S3 does: a thread may have been left behind with it.

        Raises:
            Fenced: the run is not ours any more.
        """
        phase = self.run.status

        def step_on(run: Run) -> Run:
            if run.status is not phase:
                raise LateStep(f"the run is in {run.status}")
            return run.advance(phase, step, self._clock.now())

        try:
            self._write(step_on, ())
        except Fenced:
            raise
        except ChronosError as error:
            _log.warning("step %s not recorded: %s", step, error)

    def finish(self, verdict: Verdict) -> Run:
        """Pronounce the verdict; one of ours that already stands is kept. Raises Fenced, ServiceUnavailable."""
        return self._write(lambda run: run.end(verdict, self._clock.now()), _BACKOFF)

    def look(self) -> Run | None:
        """The run as the lock has it now, None when that cannot be told: no news is no order to stop.

        Raises:
            Fenced: the run is not ours any more.
        """
        match self._store.read_lock(self._lane):
            case LockHeld() as held:
                self._check(held.run)
                return held.run
            case Absent():
                raise Fenced(f"{self._lane} has no lock any more")
            case Unreadable(problem) | ReadFailed(problem):
                _log.warning("the lock could not be read: %s", problem)
                return None

    def _write(self, change: Callable[[Run], Run], backoff: tuple[int, ...], *, waits: bool = True) -> Run:
        """Write what `change` makes of the run; without `waits` a lock that cannot be read is not tried again."""
        races = 0
        delays = iter(backoff)
        while True:
            try:
                held = self._owned()
                run = held.run if self._run is None else held.run.with_phases_from(self._run)
                written = self._store.replace_lock(change(run), held)
            except LostRace:
                races += 1
                if races > _RACES:
                    raise
            except ServiceUnavailable as error:
                delay = next(delays, None)
                if delay is None or (isinstance(error, _LockUnreadable) and not waits):
                    raise
                _log.warning("lock not written, tried again in %s s: %s", delay, error)
                self._sleep(delay)
            else:
                # Of two threads the one that wrote last need not be the last to come here.
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
                # Whose it is cannot be told, and what cannot be read may not be overwritten.
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
        elif run.attempt != self._run.attempt or run.current_step == LAUNCHING:
            raise Fenced(f"run {run.run_id} went on to another attempt")
        if run.verdict is not None and run.verdict.decided_by is DecidedBy.WATCHDOG:
            raise EndedByWatchdog(f"condemned by the watchdog: {run.verdict.message}")
