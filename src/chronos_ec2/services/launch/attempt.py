"""Start the instance of a run's current attempt: each option in turn, recorded in the lock before EC2 is asked for it.

Launchers may overlap: the watchdog asks for one each minute, and a laptop may sleep. Each writes the lock only as it
left it, so whoever loses a race stops. The one that takes over from a crashed launcher begins with the option in the
record: the client token makes EC2 return the instance that the other may have started.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    LostRace,
    NotAllowed,
    QuotaExceeded,
    ServiceUnavailable,
    Superseded,
)
from chronos_ec2.domain.facts import LockHeld, LockRead, ReadFailed, Unreadable
from chronos_ec2.domain.limits import LAUNCH_SLOT, TAKE_OVER_AFTER
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT, Launching, LaunchOption, Refusal, Waiting
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import LAUNCHING, Run
from chronos_ec2.ports import Clock, Deadlines
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.lane import StartsInstances
from chronos_ec2.services.launch.spec import Launched
from chronos_ec2.services.watchdog.deadline_schedules import scheduler_errors
from chronos_ec2.user_data import render_user_data

_TRIES = 5


class NoCapacity(CapacityUnavailable):
    """EC2 has refused every option that it was asked for. `rest` is the first one that there was no time to ask for."""

    def __init__(self, refusals: tuple[Refusal, ...], rest: LaunchOption | None = None) -> None:
        last = "; ".join(map(str, reversed(refusals)))
        problem = f"no capacity in {len(refusals)} places: {last}"
        super().__init__(problem, "wait for it with --wait-for-capacity, such as 2h")
        self.refusals = refusals
        self.rest = rest


class Attempt:
    """The current attempt of a run, as one launcher sees it."""

    def __init__(
        self, held: LockHeld, request: Request, store: RunStore, clock: Clock, *, created: bool = False
    ) -> None:
        self.held = held
        """The lock as this launcher left it."""
        self._request = request
        self._store = store
        self._clock = clock
        self._owned = created
        """Whether the option in the record is this launcher's own: it has created the lock with it, or written it."""
        self._recorded = {held.run.launching} if created else set()

    @property
    def recorded(self) -> frozenset[Launching | None]:
        """The options that this launcher has recorded, or tried to."""
        return frozenset(self._recorded)

    @property
    def run(self) -> Run:
        """The run as the lock has it."""
        return self.held.run

    def ask(
        self, fleet: StartsInstances, bucket: str, subnet_ids: tuple[str, ...], time: timedelta | None = None
    ) -> Launched:
        """Ask EC2 for each option until it launches one, or, given a time, until that is over.

        Raises:
            NoCapacity: EC2 has refused them all.
            Superseded: the run is over, or another launcher has taken it over.
            LaunchRefused, NotAllowed, ServiceUnavailable: see Fleet.
        """
        began = self._clock.now()
        refusals: list[Refusal] = []
        beyond_quota: dict[tuple[str, str], QuotaExceeded] = {}
        for option in self._in_turn(subnet_ids):
            if (option.instance_type, option.market) in beyond_quota:
                continue
            if time is not None and self._clock.now() - began >= time:
                raise NoCapacity(tuple(refusals), option)
            self._record(option)
            try:
                started = fleet.launch(self.run, option, render_user_data(bucket, self.run, self._request.limits))
            except CapacityUnavailable as error:
                refusals.append(Refusal(option, error.code, error.words))
            except QuotaExceeded as error:  # another type or market may have its own
                beyond_quota[option.instance_type, option.market] = error
            else:
                return Launched(self.run.run_id, self.run.attempt, started.instance_id, started.launched_at, option)
        if beyond_quota and not refusals:
            raise next(iter(beyond_quota.values()))
        raise NoCapacity(tuple(refusals))

    def wait(self, refused: NoCapacity) -> Waiting:
        """Record the refusals, and when EC2 is asked again. Raises Superseded, ServiceUnavailable."""
        now = self._clock.now()
        waiting = self._waiting.refused(refused.refusals, now)
        launching = None
        if refused.rest:
            launching, waiting = Launching(refused.rest, now), _not_before(waiting, now + TAKE_OVER_AFTER)
        elif (on_demand_at := self._on_demand_at(waiting)) and on_demand_at > now:
            waiting = replace(waiting, next_try_at=min(waiting.next_try_at, on_demand_at))
        self._write(lambda run: run.wait(waiting, launching, now))
        return waiting

    def wait_for_answer(self, error: ServiceUnavailable) -> Waiting:
        """Record that EC2 did not answer. The option stays in the record, because it may have become an instance."""
        waiting = self._waiting
        if launching := self.run.launching:
            waiting = waiting.noted([Refusal(launching.option, "ServiceUnavailable", error.problem)])
            waiting = _not_before(waiting, launching.since + TAKE_OVER_AFTER)
            self._write(lambda run: run.wait(waiting, launching, self._clock.now()))
        return waiting

    def commit(self, launched: Launched, deadlines: Deadlines) -> Launched:
        """Arm the deadline and write the instance id into the lock.

        Raises:
            Superseded: the run has ended or was stopped, so its instance ends too.
            NotAllowed, ServiceUnavailable: the lock was not read or written.
        """
        # The instance runs and other safeguards already cover it; the next reconcile arms a deadline that failed here.
        with suppress(ServiceUnavailable, NotAllowed), scheduler_errors():
            deadlines.schedule(launched.instance_id, self.run.deadline)
        state: LockRead = self.held
        for _ in range(_TRIES):
            if isinstance(state, ReadFailed | Unreadable):
                raise ServiceUnavailable(state.problem)
            if not isinstance(state, LockHeld) or not _is_of(launched, state.run):
                raise self._surplus(launched, state)
            run = replace(
                state.run,
                instance_id=launched.instance_id,
                instance_type=launched.option.instance_type,
                launched_at=launched.launched_at,
                current_step=state.run.current_step if state.run.claimed else LAUNCHING,
                waiting=None,
            )
            try:
                state = self._store.replace_lock(run, state)
            except LostRace:
                # The agent has claimed the run already, or somebody has stopped it. Their writes stay; only this
                # process can add the instance type, and so the price, if EC2 does not report it.
                state = self._store.read_lock(run.lane)
            else:
                break
        if isinstance(state, LockHeld) and state.run.stop:
            raise self._surplus(launched, state)
        return launched

    def _surplus(self, launched: Launched, state: LockRead) -> Superseded:
        return Superseded(
            f"run {self.run.run_id} {why_superseded(state, self.run)} while {launched.instance_id} was being started",
            "the watchdog ends the instance within minutes; `chronos-ec2 verify` shows what is left",
        )

    @property
    def _waiting(self) -> Waiting:
        """How this attempt waits: as recorded, or from its start until the request or the deadline ends it.

        An instance must have the time to boot before the deadline.
        """
        run, limit = self.run, self._request.wait_for_capacity
        if run.waiting:
            return run.waiting
        latest, since = run.deadline - self._request.limits.boot, run.attempt_started_at
        return Waiting(since, latest if limit is None else min(since + limit, latest), 0, since)

    def _on_demand_at(self, waiting: Waiting) -> datetime | None:
        after = self._request.on_demand_after
        return None if after is None or self._request.market != SPOT else waiting.since + after

    def _in_turn(self, subnet_ids: tuple[str, ...]) -> list[LaunchOption]:
        """The options, beginning with the one in the record."""
        request, on_demand_at = self._request, self._on_demand_at(self._waiting)
        fall_back = [ON_DEMAND] if on_demand_at and self._clock.now() >= on_demand_at else []
        options = [
            LaunchOption(kind, subnet, market)
            for market in (request.market, *fall_back)
            for kind in request.instance_types
            for subnet in subnet_ids
        ]
        recorded = self.run.launching
        first = options.index(recorded.option) if recorded and recorded.option in options else 0
        return options[first:] + options[:first]

    def _record(self, option: LaunchOption) -> None:
        """Record the option, and check that this launcher is still the one to ask for it."""
        if not (self._owned and self.run.launching and self.run.launching.option == option):
            launching = Launching(option, as_stored(self._clock.now()))
            self._recorded.add(launching)
            self._write(lambda run: replace(run, launching=launching, suspect=None, updated_at=launching.since))
            self._owned = True
        if self.run.launching and self._clock.now() - self.run.launching.since >= LAUNCH_SLOT:
            text = f"the launch of run {self.run.run_id} was held up for too long, so nothing was started"
            raise Superseded(text, f"{self._monitor} shows how it goes on")

    @property
    def _monitor(self) -> str:
        return f"`chronos-ec2 monitor {self.run.run_id}`"

    def _write(self, change: Callable[[Run], Run]) -> None:
        """Write the changed run, if nobody else has decided about it since this launcher wrote it."""
        for _ in range(_TRIES):
            try:
                self.held = self._store.replace_lock(change(self.run), self.held)
            except LostRace:
                self.held = self._read_again()
            else:
                return
        text = f"the lock of run {self.run.run_id} kept changing"
        raise ServiceUnavailable(text, f"{self._monitor} shows how it goes on")

    def _read_again(self) -> LockHeld:
        found = self._store.read_lock(self.run.lane)
        if isinstance(found, ReadFailed):
            raise ServiceUnavailable(found.problem)
        if not isinstance(found, LockHeld) or not may_launch(found.run, self.run):
            text = f"run {self.run.run_id} {why_superseded(found, self.run)}, so nothing more was started"
            raise Superseded(text, f"{self._monitor} shows how it has ended")
        if found.run.launching != self.run.launching:
            text = f"another launcher has taken over run {self.run.run_id}"
            raise Superseded(text, f"{self._monitor} shows how it goes on")
        return found


def _is_of(launched: Launched, run: Run) -> bool:
    same = (run.run_id, run.attempt) == (launched.run_id, launched.attempt)
    return same and run.verdict is None and run.instance_id in (None, launched.instance_id)


def may_launch(run: Run, of: Run) -> bool:
    """Whether `run` is the attempt of the other record, and still wants an instance."""
    same = (run.run_id, run.attempt) == (of.run_id, of.attempt)
    return same and not run.launched and run.verdict is None and run.stop is None


def why_superseded(found: object, run: Run) -> str:
    """Why a launcher must not go on with a run, given its lock now."""
    if not isinstance(found, LockHeld) or found.run.run_id != run.run_id:
        return "no longer holds its lane"
    if found.run.verdict:
        return f"has ended ({found.run.verdict.message})"
    if found.run.stop:
        return f"was asked to stop ({found.run.stop.reason})"
    if found.run.attempt != run.attempt:
        return f"is at attempt {found.run.attempt}"
    return f"has instance {found.run.instance_id}"


def _not_before(waiting: Waiting, moment: datetime) -> Waiting:
    return replace(waiting, next_try_at=max(waiting.next_try_at, moment))


def as_stored(moment: datetime) -> datetime:
    """A time as the record has it, to the millisecond, so that it is equal when it is read again."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
