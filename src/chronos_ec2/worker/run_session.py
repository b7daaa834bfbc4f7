"""The agent's side of a run: claim the attempt, report its phases, end it. It reads the lock, and writes none.

Claim and outcome are one-shot registers: whoever creates the object first has decided, and a lost answer is settled by
reading it. A run that belongs to somebody else, or that the watchdog has ended, raises Fenced.

An unreadable lock does not say whose the run is, so nothing is claimed beside one. It does not end a claimed run: the
agent keeps working and sending heartbeats. A phase that could not be reported goes out with the next report.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from chronos_ec2.domain.errors import ChronosError, Fenced, LostRace, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Claim, CleanupReport, Comparison, OutcomeReport, StatusReport
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import DecidedBy, Status, Verdict
from chronos_ec2.ports import Clock
from chronos_ec2.run_store import RunStore
from chronos_ec2.worker.errors import EndedByWatchdog

Result = TypeVar("Result")
_log = logging.getLogger(__name__)
_BACKOFF = (1, 2, 4, 8, 15, *[30] * 19)
"""Seconds. They add up to the ten minutes after which an agent without heartbeats fences itself anyway."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this agent runs on, and the attempt that it was started for.

    `instance_type` comes from the instance: the lock may still name a type that had no capacity.
    """

    environment: str
    run_id: str
    instance_id: str
    boot_id: str
    attempt: int
    instance_type: str | None = None


class RunSession:
    """One attempt of a run, from its agent's side. Steps may be recorded from any thread."""

    def __init__(
        self, store: RunStore, clock: Clock, lane: Lane, identity: Identity, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._store = store
        self._clock = clock
        self._lane = lane
        self._identity = identity
        self._sleep = sleep
        # The same in each try, so that a try whose answer was lost is recognised.
        self._nonce = store.new_nonce()
        self._run: Run | None = None
        self._phases: tuple[tuple[Status, datetime], ...] = ()
        self._changes = threading.Lock()
        self._unreported = False

    @property
    def run(self) -> Run:
        """The run as its agent knows it. Raises RuntimeError before the claim."""
        if self._run is None:
            raise RuntimeError("not claimed")
        return self._run

    def claim(self) -> Run:
        """Take the attempt. Nothing else may be touched before.

        Raises:
            Fenced: the attempt is not, or no longer, this instance's to take.
            ServiceUnavailable: S3 did not answer for ten minutes.
        """
        me = self._identity
        claim = Claim(me.run_id, me.attempt, me.instance_id, me.boot_id, self._nonce)

        def take() -> Run:
            run = self._claimable()
            self._store.claim(me.environment, claim)
            return run

        try:
            run = self._retried(take)
        except LostRace as error:
            raise Fenced(f"attempt {me.attempt} of run {me.run_id} is void, or claimed by another instance") from error
        now = self._clock.now()
        self._phases = ((Status.INITIALIZATION, now),)
        self._run = run.claimed_by(me.instance_id, me.instance_type or run.instance_type, now)
        return self._run

    def _claimable(self) -> Run:
        match self._store.read_lock(self._lane):
            case LockHeld(run):
                self._check(run)
                if run.verdict is not None:
                    raise Fenced(f"run {run.run_id} has ended: {run.verdict.message}")
                return run
            case Absent():
                raise Fenced(f"{self._lane} has no lock")
            case Unreadable(problem):
                raise Fenced(f"{self._lane} has an unreadable lock: {problem}")
            case ReadFailed(problem):
                raise ServiceUnavailable(problem)

    def advance(self, status: Status, step: str) -> Run:
        """Move the run into a phase, and report it. Raises Fenced."""
        self.read()
        now = self._clock.now()
        with self._changes:
            self._run = self.run.advance(status, step, now)
            self._phases = (*self._phases, (status, now))
        self._report()
        return self.run

    def record_step(self, step: str) -> None:
        """Report a step within the current phase, for people to read."""
        with self._changes:
            self._run = replace(self.run, current_step=step)
        self._report()

    def finish(
        self,
        verdict: Verdict,
        cleanup: CleanupReport | None = None,
        models: tuple[tuple[str, str], ...] = (),
        comparison: Comparison | None = None,
    ) -> None:
        """Write the outcome of the attempt.

        Raises:
            Fenced: the run no longer belongs to this agent, or the watchdog has ended it.
            ServiceUnavailable: S3 did not answer for ten minutes.
        """
        me = self._identity
        if self._unreported:
            self._report()
        outcome = OutcomeReport(me.run_id, me.attempt, self._nonce, verdict, cleanup, models, comparison)

        def end() -> None:
            self.read()
            self._store.end(me.environment, outcome)

        try:
            self._retried(end)
        except LostRace as error:
            raise EndedByWatchdog(f"attempt {me.attempt} of run {me.run_id} already has an outcome") from error
        with self._changes:
            self._run = self.run.end(outcome.verdict, self._clock.now())

    def read(self) -> Run | None:
        """The run as the lock has it now, or None if the lock cannot be read.

        Raises:
            Fenced: the run no longer belongs to this agent, or the watchdog has ended it.
        """
        match self._store.read_lock(self._lane):
            case LockHeld(run):
                self._check(run)
                return run
            case Absent():
                raise Fenced(f"the lock of {self._lane} is gone")
            case Unreadable(problem) | ReadFailed(problem):
                _log.warning("lock not read: %s", problem)
                return None

    def _report(self) -> None:
        """Report phases and step, again if another thread has changed them meanwhile.

        What is lost goes out with the next report.
        """
        while True:
            status = self._status()
            try:
                self._store.report(self._identity.environment, status)
            except ChronosError as error:
                _log.warning("step %s not reported yet: %s", status.step, error)
                self._unreported = True
                return
            self._unreported = False
            if status == self._status():
                return

    def _status(self) -> StatusReport:
        with self._changes:
            return StatusReport(self._identity.run_id, self._identity.attempt, self._phases, self.run.current_step)

    def _retried(self, call: Callable[[], Result]) -> Result:
        for delay in _BACKOFF:
            try:
                return call()
            except ServiceUnavailable as error:
                _log.warning("%s; retrying in %s s", error, delay)
                self._sleep(delay)
        return call()

    def _check(self, run: Run) -> None:
        me = self._identity
        if run.run_id != me.run_id:
            raise Fenced(f"{self._lane} is held by run {run.run_id}")
        if run.attempt != me.attempt:
            raise Fenced(f"run {run.run_id} is at attempt {run.attempt}, this is attempt {me.attempt}")
        if run.instance_id not in (None, me.instance_id):
            raise Fenced(f"run {run.run_id} belongs to instance {run.instance_id}")
        if run.verdict is not None and run.verdict.decided_by is DecidedBy.WATCHDOG:
            raise EndedByWatchdog(f"ended by the watchdog: {run.verdict.message}")
