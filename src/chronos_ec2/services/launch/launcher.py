"""Start the instance of a run: request, lock, RunInstances, then the instance id into the lock."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chronos_ec2.domain.errors import (
    InvalidDocument,
    InvalidInput,
    LaunchRefused,
    LostRace,
    NotAllowed,
    ServiceUnavailable,
    Superseded,
)
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.limits import LAUNCHER_TIMEOUT, TAKE_OVER_AFTER, StackBounds
from chronos_ec2.domain.records.capacity import Launching, LaunchOption
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import REQUEST, Request, check_request_size
from chronos_ec2.domain.records.run import Run, new_run_id
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.ports import Clock, Deadlines, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.groups.store import GroupStore
from chronos_ec2.services.launch.attempt import Attempt, NoCapacity, as_stored, may_launch
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.lane import FailedLaunch, StartedInstances, StartsInstances, refuse_if_busy, take_lane
from chronos_ec2.services.launch.spec import Launched, LaunchSpec, WaitsForCapacity, first_run, order_of
from chronos_ec2.services.prices import check_cap
from chronos_ec2.services.teardown import refuse_teardown

_ROUND = LAUNCHER_TIMEOUT - timedelta(seconds=60)
"""How long the launcher function goes on to the next option: the last may take a minute without an answer."""


def launch(
    spec: LaunchSpec, store: RunStore, fleet: StartsInstances, deadlines: Deadlines, clock: Clock
) -> Launched | WaitsForCapacity:
    """Start one instance for a new run, or leave the run to the watchdog if it may wait for capacity.

    An error after the lane was taken has a note (`__notes__`) on what may be running and how to end it.

    Raises:
        InvalidInput: the data set is missing or too large, the price cap cannot be kept, or the stack is being deleted.
        LaneBusy: another run holds the lane.
        CapacityUnavailable, LaunchRefused, NotAllowed: EC2 starts no instance.
        Superseded: the run was ended or stopped meanwhile; the watchdog ends whatever was started.
        ServiceUnavailable: AWS did not answer.
    """
    prices, price = prices_of(spec)
    dataset = find_dataset(store, spec.lane.environment, spec.data_path) if spec.dataset is None else spec.dataset
    check_request_size(spec.config, dataset)
    now = as_stored(clock.now())
    request = order_of(spec, new_run_id(now, secrets.token_bytes(3)), now, dataset, prices, price)
    option = LaunchOption(spec.instance_types[0], spec.subnet_ids[0], spec.market)
    run = replace(first_run(request, now), launching=Launching(option, now))
    refuse_if_busy(store, run.lane)
    started, attempt = StartedInstances(fleet), None
    try:
        attempt = Attempt(take_lane(run, request, store), request, store, clock, created=True)
        refuse_teardown(store, run.lane.environment, spec.stack_id)
        return _start_first(attempt, started, spec, deadlines)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        own = attempt.recorded if attempt else frozenset([run.launching])
        FailedLaunch(run, request, store, started.possible, attempt is not None, own).settle(error)
        raise


def _start_first(
    attempt: Attempt, started: StartedInstances, spec: LaunchSpec, deadlines: Deadlines
) -> Launched | WaitsForCapacity:
    run, may_wait = attempt.run, spec.wait_for_capacity is not None
    try:
        launched = attempt.ask(started, spec.bucket, spec.subnet_ids)
    except NoCapacity as error:
        if not may_wait:
            raise
        return WaitsForCapacity(run.run_id, run.attempt, attempt.wait(error))
    except ServiceUnavailable as error:
        if not may_wait:
            raise
        return WaitsForCapacity(run.run_id, run.attempt, attempt.wait_for_answer(error))
    return attempt.commit(launched, deadlines)


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts the instances of attempts that wait for one: the Relauncher of whoever may start instances."""

    bucket: str
    subnet_ids: tuple[str, ...]
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    clock: Clock
    bounds: StackBounds

    def relaunch(self, run: Run) -> None:
        """Start an instance for the current attempt of a run. Raises ServiceUnavailable.

        What else keeps it from an instance is in the lock.
        """
        with suppress(LaunchRefused, NotAllowed, InvalidDocument, Superseded):
            self.start(run.lane, run.run_id)

    def start(self, lane: Lane, run_id: str) -> Launched | WaitsForCapacity | None:
        """Start the instance of a run's current attempt, or note that EC2 has no capacity for it.

        Returns None if there is nothing to do: the run no longer wants an instance, it is not its time to ask EC2, or
        another launcher is at work.

        Raises:
            InvalidDocument, LaunchRefused, NotAllowed: there will be no instance; the run has its verdict.
            Superseded: the run was ended or stopped meanwhile, or another launcher has taken it over.
            ServiceUnavailable: AWS did not answer; a retry does not start a second instance.
        """
        held, now = self.store.read_lock(lane), self.clock.now()
        if not isinstance(held, LockHeld) or held.run.run_id != run_id or not may_launch(held.run, held.run):
            return None
        run = held.run
        at_work = run.launching and now - held.since(run.launching.since) < TAKE_OVER_AFTER
        if at_work or (run.waiting and not run.waiting.next_try_at <= now < run.waiting.until):
            return None
        try:
            request = self._request(run)
            if request.group and (stopped := self._stopped(run, request.group)):
                self._end(held, Verdict(Outcome.KILLED, Cause.REQUESTED, stopped, DecidedBy.WATCHDOG))
                return None
            ordered = self._as_ordered(run, request, now)
        except (InvalidDocument, LaunchRefused) as error:
            self._refuse(held, error)
            raise
        attempt = Attempt(replace(held, run=ordered), request, self.store, self.clock)
        try:
            launched = attempt.ask(self.fleet, self.bucket, self.subnet_ids, _ROUND)
        except NoCapacity as error:
            return WaitsForCapacity(run_id, run.attempt, attempt.wait(error))
        except (LaunchRefused, NotAllowed) as error:
            self._refuse(attempt.held, error)
            raise
        except ServiceUnavailable as error:
            with suppress(ServiceUnavailable, NotAllowed, Superseded):
                attempt.wait_for_answer(error)
            raise
        return attempt.commit(launched, self.deadlines)

    def _request(self, run: Run) -> Request:
        request = self.store.read_request(run.lane.environment, run.run_id)
        if request is None:
            raise InvalidDocument(f"run {run.run_id} has no {REQUEST}")
        return request

    def _stopped(self, run: Run, group: str) -> str | None:
        """Why no run of a group gets an instance any more, None if it does.

        Read after the lane was taken: so a kill of the group sees the run, or this sees the kill.
        """
        return GroupStore(run.lane.environment, self.store.objects).ledger(group).ledger.stopped

    def _as_ordered(self, run: Run, request: Request, now: datetime) -> Run:
        """The run with the deadline, cap and prices of its order, whatever its lock says.

        Raises:
            LaunchRefused: the attempt is beyond the order, or the order beyond what the stack allows: it may be forged.
        """
        budget = request.budget
        if budget is None:
            raise InvalidDocument(f"{REQUEST} of run {run.run_id} has no budget")
        if run.attempt > 1 + budget.preemptions + budget.crashes:
            raise LaunchRefused(f"attempt {run.attempt} of run {run.run_id} is beyond the budget of its order")
        try:
            self.bounds.check(request.instance_types, max(request.limits.max_runtime, budget.deadline - now))
        except InvalidInput as error:
            raise LaunchRefused(f"the order of run {run.run_id} is beyond what the stack allows: {error}") from error
        return replace(
            run, deadline=budget.deadline, max_cost_usd=budget.max_cost_usd,
            price_per_hour_usd=budget.price_per_hour_usd, prices=budget.prices,
        )  # fmt: skip

    def _refuse(self, held: LockHeld, error: Exception) -> None:
        """Give the run its verdict: no launcher will do better. The watchdog frees the lane."""
        self._end(held, Verdict(Outcome.FAILED, Cause.INFRA, str(error), DecidedBy.WATCHDOG))

    def _end(self, held: LockHeld, verdict: Verdict) -> None:
        with suppress(LostRace):
            self.store.replace_lock(replace(held.run.end(verdict, self.clock.now()), launching=None), held)


def prices_of(spec: LaunchSpec) -> tuple[dict[str, float], float | None]:
    """The hourly price of each type, and the one to assume for a type that is not listed: the highest.

    With one unknown price all are unknown: a sum that lacks an attempt would be wrong.
    """
    if spec.on_demand_after is not None:
        _check_fall_back(spec)
    if spec.price_per_hour_usd is not None:
        return {}, spec.price_per_hour_usd
    check_cap(spec.instance_types, spec.prices, spec.max_cost_usd)
    known = all(kind in spec.prices for kind in spec.instance_types)
    prices = {kind: spec.prices[kind] for kind in spec.instance_types} if known else {}
    return prices, max(prices.values(), default=None)


def _check_fall_back(spec: LaunchSpec) -> None:
    """Raise InvalidInput if the price in the record would not be that of the on-demand instance that a run may get."""
    for kind in spec.instance_types:
        listed, price = spec.prices.get(kind), spec.price_per_hour_usd
        if listed is None and price is None:
            raise InvalidInput("--on-demand-after", f"the on-demand price of {kind} is not known", "give --price")
        if listed is not None and price is not None and price < listed:
            problem = f"{price:.3f} is less than {listed:.3f}, the on-demand price of {kind}, which the run may get"
            raise InvalidInput("--price", problem, "leave it out, or leave out --on-demand-after")
